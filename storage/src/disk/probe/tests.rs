use ::glommio::{LocalExecutorBuilder, Placement};

use super::*;

fn facts(files: &[(&str, &str)], partition: bool) -> DeviceFacts {
    let device = tempfile::tempdir().expect("a temporary directory");
    std::fs::create_dir(device.path().join("queue")).expect("it is empty");
    for (name, content) in files {
        std::fs::write(device.path().join("queue").join(name), content).expect("it can be written");
    }
    let part = device.path().join("part");
    std::fs::create_dir(&part).expect("it is not there");
    queue_facts(if partition { &part } else { device.path() })
}

const NVME: [(&str, &str); 4] = [
    ("write_cache", "write back\n"),
    ("fua", "1\n"),
    ("rotational", "0\n"),
    ("logical_block_size", "4096\n"),
];

#[test]
fn facts_come_from_the_queue_of_the_device_or_of_its_whole() {
    let expected = DeviceFacts {
        write_cache: Some(WriteCache::Back),
        forces_writes: Some(true),
        rotational: Some(false),
        logical_block_bytes: Some(4096),
    };
    assert_eq!(facts(&NVME, false), expected);
    assert_eq!(facts(&NVME, true), expected);
}

#[test]
fn what_cannot_be_read_is_unknown() {
    assert_eq!(facts(&[], false), DeviceFacts::default());
    let strange = [("write_cache", "write sideways"), ("fua", "7"), ("logical_block_size", "-1")];
    assert_eq!(facts(&strange, false), DeviceFacts::default());
    assert_eq!(queue_facts(Path::new("/nowhere/at/all")), DeviceFacts::default());
    assert_eq!(device_facts(Path::new("/nowhere/at/all")), DeviceFacts::default());
}

fn choice(write_cache: Option<WriteCache>, forces_writes: Option<bool>, synced_us: u64) -> DurableWrite {
    let latency = |median_us| {
        let median = Duration::from_micros(median_us);
        WriteLatency { median, max: median, count: 1 }
    };
    let facts = DeviceFacts { write_cache, forces_writes, ..DeviceFacts::default() };
    let report = DeviceReport { direct: true, facts, synced: latency(synced_us), then_sync: latency(100) };
    report.choice().0
}

#[test]
fn what_the_device_says_comes_before_what_was_measured() {
    use DurableWrite::{Synced, ThenSync};
    use WriteCache::{Back, Through};
    for (write_cache, forces_writes, synced_us, expected) in [
        (Some(Through), Some(false), 500, Synced),
        (Some(Back), Some(true), 500, Synced),
        (Some(Back), Some(false), 50, ThenSync),
        (None, None, 100, Synced),
        (None, None, 101, ThenSync),
        (Some(Back), None, 50, Synced),
        (None, Some(false), 150, ThenSync),
    ] {
        assert_eq!(
            choice(write_cache, forces_writes, synced_us),
            expected,
            "{write_cache:?} {forces_writes:?}"
        );
    }
}

#[test]
fn this_machine_is_probed_and_left_as_it_was() {
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target");
    for parent in [target.as_path(), Path::new("/dev/shm")] {
        let directory = tempfile::tempdir_in(parent).expect("a temporary directory");
        let executor =
            LocalExecutorBuilder::new(Placement::Unbound).io_memory(1 << 20).make().expect("an executor");
        executor.run(async {
            let disk = GlommioDisk::open(directory.path()).await.expect("the directory is there");
            let report = probe(&disk, Duration::ZERO).await.expect("no faults");
            assert_eq!((report.synced.count, report.then_sync.count), (1, 1), "each way once");
            let report = probe(&disk, Duration::from_secs(3600)).await.expect("no faults");
            assert_eq!(report.synced.count, PROBE_WRITES_MAX);
            assert!(report.synced.max >= report.synced.median);
            assert_eq!(report.direct, disk.is_direct());
            let text = report.to_string();
            assert!(text.contains("O_DSYNC") && text.contains("fdatasync"), "{text}");
            println!("{}: {report}; {:?}", parent.display(), report.choice());
            assert_eq!(std::fs::read_dir(directory.path()).expect("it is there").count(), 0);
        });
    }
}
