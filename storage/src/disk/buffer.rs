//! Aligned buffers for direct I/O.

/// Placeholder face; see the brief.
pub struct IoBuffer;
/// A filled buffer.
pub struct SharedBuffer;
/// Recycles buffers.
pub struct BufferPool;
