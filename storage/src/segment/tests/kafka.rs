//! Kafka's own tool reads what a real disk holds.

use std::process::{Command, Output};

use glommio::{LocalExecutorBuilder, Placement};
use protocol::batch::TimestampType;
use protocol::compression::Compression;
use protocol::records::{BatchBuilder, BatchOptions};

use super::*;
use crate::disk::glommio::GlommioDisk;

/// Where Kafka's jars are: those that the end-to-end tests fetch, or `KAFKA_LIB`.
fn kafka_lib() -> Option<PathBuf> {
    let fetched = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/clients/java/target/lib");
    let lib = std::env::var_os("KAFKA_LIB").map_or(fetched, PathBuf::from);
    let java = Command::new("java").arg("-version").output().is_ok_and(|output| output.status.success());
    (java && lib.is_dir()).then_some(lib)
}

fn dump(lib: &Path, arguments: &[&str], files: &[PathBuf]) -> Output {
    let files: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
    Command::new("java")
        .arg("-cp")
        .arg(lib.join("*"))
        .arg("kafka.tools.DumpLogSegments")
        .args(arguments)
        .arg("--files")
        .arg(files.join(","))
        .output()
        .expect("java runs")
}

/// What the tool prints, if it finds no fault.
fn checked(lib: &Path, arguments: &[&str], files: &[PathBuf]) -> String {
    let output = dump(lib, arguments, files);
    let (printed, errors) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{printed}\n{errors}");
    for fault in ["Mismatches", "Non-consecutive", "Found timestamp", "out of order", "Exception"] {
        assert!(!errors.contains(fault) && !printed.contains(fault), "{printed}\n{errors}");
    }
    printed.into_owned()
}

/// A batch of three records, in every compression and with both kinds of timestamps by turns.
fn records(number: i64) -> Bytes {
    let compressions =
        [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];
    let turn = usize::try_from(number).expect("positive");
    let options = BatchOptions {
        base_offset: Offset(number * 3),
        leader_epoch: protocol::types::LeaderEpoch(4),
        compression: compressions[turn % 5],
        timestamp_type: if number % 7 == 0 {
            TimestampType::LogAppendTime
        } else {
            TimestampType::CreateTime
        },
        ..BatchOptions::default()
    };
    let mut batch = BatchBuilder::new(options);
    for record in 0..3 {
        // Mostly ascending, with steps back.
        let timestamp = 1_700_000_000_000 + number * 10 + record - 200 * (number % 3);
        let value = vec![b'v'; 100 + 40 * (turn % 11)];
        batch.append(Timestamp(timestamp), Some(b"key"), Some(&value), &[]);
    }
    Bytes::from(batch.build())
}

fn files_in(directory: &Path, suffix: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(directory)
        .expect("it is there")
        .map(|entry| entry.expect("it can be listed").path())
        .filter(|path| path.to_string_lossy().ends_with(suffix))
        .collect();
    files.sort();
    files
}

fn offsets(printed: &str) -> Vec<i64> {
    let lines = printed.lines().filter_map(|line| line.strip_prefix("| offset: "));
    lines
        .map(|line| line.split(' ').next().and_then(|offset| offset.parse().ok()).expect("an offset"))
        .collect()
}

#[test]
fn kafka_reads_the_segments() {
    let Some(lib) = kafka_lib() else {
        eprintln!("left out: no java, or no Kafka jars in KAFKA_LIB");
        return;
    };
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target");
    let data = tempfile::tempdir_in(target).expect("a temporary directory");
    let directory = data.path().join(directory());
    let executor =
        LocalExecutorBuilder::new(Placement::Unbound).io_memory(1 << 20).make().expect("an executor");
    let log = executor.run(async {
        let disk = GlommioDisk::open(data.path()).await.expect("the directory is there");
        let log =
            PartitionLog::create(&OpenFiles::new(disk, 8), KEY, super::directory(), config(), Offset(0));
        for number in 0..200 {
            log.append(&[records(number)]).await.expect("no faults");
        }
        log.sync().await.expect("no faults");
        log
    });

    // While the broker runs: all records, and a remark about the padding.
    let segments = files_in(&directory, ".log");
    assert!(segments.len() > 2);
    let printed = checked(&lib, &["--deep-iteration"], &segments);
    assert_eq!(offsets(&printed), (0..600).collect::<Vec<i64>>());
    assert!(printed.contains("invalid bytes at the end of"), "{printed}");

    executor.run(async { log.close().await.expect("no faults") });
    let printed = checked(&lib, &["--deep-iteration", "--print-data-log"], &segments);
    assert_eq!(offsets(&printed), (0..600).collect::<Vec<i64>>());
    assert!(!printed.contains("invalid bytes"), "{printed}");
    assert!(!printed.contains("isvalid: false"), "{printed}");
    let indexes = [files_in(&directory, ".index"), files_in(&directory, ".timeindex")].concat();
    assert_eq!(indexes.len(), 2 * segments.len());
    checked(&lib, &[], &indexes);
    let printed = checked(&lib, &["--index-sanity-check"], &indexes);
    assert_eq!(printed.matches("passed sanity check").count(), indexes.len(), "{printed}");
}
