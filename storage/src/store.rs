//! The store of one shard: its journal, its tail in memory, its partitions' segments, behind one face.
