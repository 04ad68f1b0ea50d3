//! Every check is really run against what it is there to find: a taken port, a locked directory, a forbidden ring.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::time::Duration;

use super::*;
use crate::config::Endpoint;
use crate::quorum::Identity;
use protocol::types::BrokerId;

fn loopback(port: u16) -> Endpoint {
    Endpoint { host: "127.0.0.1".to_owned(), port }
}

fn check_refused<T: fmt::Debug>(result: Result<T, StartupError>, code: ExitCode, words: &[&str]) {
    let error = result.expect_err("it must be refused");
    assert_eq!(error.code, code, "{error}");
    assert!(!error.message.contains('\n'), "one line: {error}");
    for word in words {
        assert!(error.message.contains(word), "{word:?} in: {error}");
    }
}

#[test]
fn a_port_with_a_listener_is_taken() {
    let other = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = other.local_addr().unwrap().port();
    let words = [&format!("127.0.0.1:{port}"), "taken by another process", "--listen"];
    check_refused(ClaimedPort::claim(&loopback(port), "--listen"), ExitCode::PortTaken, &words);
    check_refused(ports::listen_alone(&loopback(port), "--admin"), ExitCode::PortTaken, &["--admin"]);
}

#[test]
fn a_claimed_port_is_taken_for_others_and_free_for_shards() {
    let claimed = ClaimedPort::claim(&loopback(0), "--listen").unwrap();
    let port = claimed.address.port();
    assert_ne!(port, 0);
    check_refused(ClaimedPort::claim(&loopback(port), "--listen"), ExitCode::PortTaken, &[]);
    let shards: Vec<_> = (0..2).map(|_| shared_listener(claimed.address)).collect::<io::Result<_>>().unwrap();
    check_refused(ClaimedPort::claim(&loopback(port), "--listen"), ExitCode::PortTaken, &[]);
    let client = std::net::TcpStream::connect(claimed.address).expect("a shard accepts");
    drop((client, shards, claimed));
    ClaimedPort::claim(&loopback(port), "--listen").expect("free again, in spite of the closed connection");
}

#[test]
fn a_port_shared_by_others_is_taken() {
    let first = shared_listener((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let port = first.local_addr().unwrap().as_socket().unwrap().port();
    check_refused(ClaimedPort::claim(&loopback(port), "--listen"), ExitCode::PortTaken, &[]);
}

fn shared_listener(address: std::net::SocketAddr) -> io::Result<socket2::Socket> {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.bind(&address.into())?;
    socket.listen(16)?;
    Ok(socket)
}

#[test]
fn an_address_that_isn_t_ours_is_refused() {
    let documentation = Endpoint { host: "192.0.2.1".to_owned(), port: 0 };
    let words = ["isn't an address of this machine", "--listen"];
    check_refused(ClaimedPort::claim(&documentation, "--listen"), ExitCode::Address, &words);
    let nobody = Endpoint { host: "nobody.invalid".to_owned(), port: 0 };
    check_refused(ClaimedPort::claim(&nobody, "--listen"), ExitCode::Address, &["can't be resolved"]);
}

#[test]
fn a_directory_is_made_and_belongs_to_one_broker() {
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("deep/data");
    let claimed = DataDirectory::claim(&path).unwrap();
    let process = format!("process {}", std::process::id());
    let words = ["a broker runs in it already", process.as_str(), "--data-dir"];
    check_refused(DataDirectory::claim(&path), ExitCode::DataLocked, &words);
    drop(claimed);
    DataDirectory::claim(&path).expect("free again");
}

#[test]
fn a_directory_that_cannot_be_made_or_written_is_refused() {
    let parent = tempfile::tempdir().unwrap();
    let file = parent.path().join("file");
    fs::write(&file, "").unwrap();
    check_refused(DataDirectory::claim(&file), ExitCode::DataNotWritable, &["can't be made", "--data-dir"]);
    check_refused(DataDirectory::claim(&file.join("data")), ExitCode::DataNotWritable, &["can't be made"]);
    check_refused(
        DataDirectory::claim(Path::new("/sys/iolite")),
        ExitCode::DataNotWritable,
        &["can't be made"],
    );
    // sysfs lets nobody make a file, not even root.
    check_refused(
        DataDirectory::claim(Path::new("/sys/kernel")),
        ExitCode::DataNotWritable,
        &["can't be written"],
    );
}

#[test]
fn kafka_s_directory_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("meta.properties"), "version=1").unwrap();
    check_refused(
        DataDirectory::claim(directory.path()),
        ExitCode::DataFormat,
        &["Apache Kafka's", "--data-dir"],
    );
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "nothing was written");
}

#[test]
fn a_directory_of_another_format_or_broker_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let check = |file: &[u8], code, words: &[&str]| {
        fs::write(path.join("meta.fb"), file).unwrap();
        check_refused(DataDirectory::claim(path).and_then(|data| data.identity(BrokerId(1))), code, words);
    };
    Identity::new(BrokerId(1), 2).write(path).unwrap();
    let good = fs::read(path.join("meta.fb")).unwrap();
    let identity = DataDirectory::claim(path).unwrap().identity(BrokerId(1)).unwrap();
    assert_eq!(identity.expect("it has one").shard_count, 2);
    let words = ["node 1", "node.id is 7", "--data-dir"];
    check_refused(DataDirectory::claim(path).unwrap().identity(BrokerId(7)), ExitCode::DataFormat, &words);
    // The format's version stands at 8.
    let newer = [&good[..8], &[9], &good[9..]].concat();
    check(&newer, ExitCode::DataFormat, &["version 9", "a broker that reads it"]);
    check(b"something else entirely, of a fair length", ExitCode::DataFormat, &["meta.fb"]);
    let last = good.len() - 1;
    let damaged = [&good[..last], &[good[last] ^ 1]].concat();
    check(&damaged, ExitCode::Damaged, &["meta.fb", "damaged"]);
}

#[test]
fn an_empty_directory_has_no_identity_yet() {
    let directory = tempfile::tempdir().unwrap();
    assert_eq!(DataDirectory::claim(directory.path()).unwrap().identity(BrokerId(1)), Ok(None));
}

#[test]
fn a_directory_that_lost_its_identity_is_not_taken_for_an_empty_one() {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("journal")).unwrap();
    let words = ["meta.fb is missing", "backup"];
    let claimed = DataDirectory::claim(directory.path()).unwrap();
    check_refused(claimed.identity(BrokerId(1)), ExitCode::Damaged, &words);
}

#[test]
fn a_directory_in_memory_is_told_from_one_on_a_disk() {
    let memory = tempfile::tempdir_in("/dev/shm").unwrap();
    let claimed = DataDirectory::claim(memory.path()).unwrap();
    assert_eq!(claimed.filesystem.name, "tmpfs");
    assert!(claimed.filesystem.is_volatile);
}

#[test]
fn too_few_files_are_refused_and_few_are_taken() {
    let words = ["only 100 files", "456 are needed", "LimitNOFILE"];
    check_refused(shared_out(100, 1000, 1), ExitCode::OpenFiles, &words);
    assert!(shared_out(1024, 1000, 1).is_ok());
}

fn shared_out(limit: u64, connections: u32, shard_count: u16) -> Result<OpenFilesShare, StartupError> {
    limits::share_open_files(limit, limits::OpenFilesWanted { connections, shard_count, journal_files: 8 })
}

#[test]
fn open_files_are_shared_out_and_never_more_than_there_are() {
    let check = |limit, connections, shard_count, expected| {
        let share = shared_out(limit, connections, shard_count).unwrap();
        assert_eq!((share.connections_max, share.segment_files_max), expected, "{limit} of {shard_count}");
        // Journal, rings and what is open for a moment besides.
        let shards = usize::from(shard_count);
        let all = share.connections_max + shards * (share.segment_files_max + 64 + 8) + 256;
        assert!(u64::try_from(all).unwrap() <= limit, "{all} of {limit}");
    };
    check(456, 1000, 1, (64, 64));
    check(456, 10, 1, (10, 64));
    check(1024, 10_000, 1, (64 + 284, 64 + 284));
    check(1024, 100, 1, (100, 64 + 532));
    check(20_000, 10_000, 1, (10_000, 4096));
    check(20_000, 10_000, 8, (64 + 9296, 64 + 1162));
    check(1 << 20, 10_000, 8, (10_000, 4096));
    check(u64::MAX, 10_000, 64, (10_000, 4096));
}

#[test]
fn too_little_locked_memory_is_refused() {
    let words = ["only 64 KiB", "512 KiB are needed", "LimitMEMLOCK"];
    check_refused(limits::judge_locked_memory(64 << 10, 1), ExitCode::LockedMemory, &words);
    check_refused(limits::judge_locked_memory(8 << 20, 64), ExitCode::LockedMemory, &["16384 KiB"]);
    assert_eq!(limits::judge_locked_memory(8 << 20, 2), Ok(()));
    assert_eq!(limits::judge_locked_memory(u64::MAX, 1024), Ok(()));
}

#[test]
fn a_ring_is_made_here() {
    assert_eq!(ring::check(), Ok(()));
}

/// A filter binds the thread that installs it only, so it can be tried inside this process.
#[test]
fn a_ring_forbidden_by_seccomp_is_told_as_such() {
    let result = std::thread::spawn(|| {
        forbid_rings(libc::EPERM);
        ring::check()
    });
    let words = ["seccomp profile", "io_uring_setup", "docs/operations.md"];
    check_refused(result.join().unwrap(), ExitCode::IoUring, &words);
}

#[test]
fn each_refusal_of_a_ring_has_its_remedy() {
    let refused = |errno, seccomp, disabled| {
        let error = ring::refusal(&io::Error::from_raw_os_error(errno), seccomp, disabled);
        (error.code, error.message)
    };
    let check = |(code, message): (ExitCode, String), expected, words: &str| {
        assert_eq!(code, expected, "{message}");
        assert!(message.contains(words), "{words:?} in: {message}");
    };
    check(refused(libc::EPERM, true, true), ExitCode::IoUring, "sysctl -w kernel.io_uring_disabled=0");
    check(refused(libc::EPERM, false, false), ExitCode::IoUring, "security module");
    check(refused(libc::ENOSYS, true, false), ExitCode::IoUring, "seccomp profile");
    check(refused(libc::ENOSYS, false, false), ExitCode::IoUring, "Linux 5.15");
    check(refused(libc::ENOMEM, false, false), ExitCode::LockedMemory, "memlock");
}

/// Lets `io_uring_setup` fail with `errno` on this thread for good.
fn forbid_rings(errno: i32) {
    let number = u32::try_from(libc::SYS_io_uring_setup).unwrap();
    let answer = libc::SECCOMP_RET_ERRNO | u32::try_from(errno).unwrap();
    // Load the system call's number (the first word); equal: fail; else: allow.
    let statement = |code: u32, k| libc::sock_filter { code: u16::try_from(code).unwrap(), jt: 0, jf: 0, k };
    let mut jump = statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, number);
    jump.jf = 1;
    let mut filter = [
        statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0),
        jump,
        statement(libc::BPF_RET | libc::BPF_K, answer),
        statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: 4, filter: filter.as_mut_ptr() };
    // SAFETY: the program and its filter outlive the calls, which copy them.
    let installed = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
            && libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) == 0
    };
    assert!(installed, "{}", io::Error::last_os_error());
}

#[test]
fn a_machine_has_cores_and_memory() {
    let machine = detect_machine();
    assert!(!machine.cores.is_empty());
    assert!(machine.parallelism >= 1);
    assert!(machine.memory_bytes > 64 << 20);
    assert!(!machine.host_name.contains('\n'));
}

#[test]
fn the_banner_has_a_fixed_form() {
    let disk = Filesystem { name: "ext4".to_owned(), is_volatile: false, is_remote: false };
    let banner = Banner {
        ready_after: Duration::from_millis(52),
        kafka: "127.0.0.1:9092".parse().unwrap(),
        advertised: &loopback(9092),
        admin: Some("127.0.0.1:9644".parse().unwrap()),
        data_directory: Path::new("./data"),
        filesystem: &disk,
        flush_messages: 1,
    };
    let version = env!("CARGO_PKG_VERSION");
    let expected = format!(
        "iolite-broker {version} ready in 0.05 s\n  \
           kafka    127.0.0.1:9092\n  \
           admin    http://127.0.0.1:9644\n  \
           data     ./data (ext4)\n  \
           ack      the record is on stable media, synced before its producer hears yes\n  \
           try      echo hello | kcat -b 127.0.0.1:9092 -P -t greetings"
    );
    assert_eq!(banner.to_string(), expected);
    let outside = Endpoint { host: "oak".to_owned(), port: 9092 };
    let other = Banner { advertised: &outside, admin: None, flush_messages: 100, ..banner };
    let text = other.to_string();
    assert!(
        text.contains("\n  kafka    127.0.0.1:9092\n  clients  are told oak:9092\n  admin    none\n"),
        "{text}"
    );
    assert!(text.contains("\n  ack      from memory"), "{text}");
    assert!(text.ends_with("-b oak:9092 -P -t greetings"), "{text}");
}
