//! First start, restart, subscribers, snapshots, askers on other threads, a full disk.

use std::time::Instant;

use super::memory::MemoryFiles;
use super::*;
use crate::quorum::log::LOG_FILE;
use crate::quorum::machine::SNAPSHOT_FILE;

#[test]
fn an_empty_directory_becomes_a_quorum_and_restarts_with_all_it_had() {
    let directory = tempfile::tempdir().unwrap();
    on_control_thread(async {
        let begin = Instant::now();
        let quorum = Quorum::start(directory.path().to_owned(), NODE).await.unwrap();
        println!("first start: {:?}", begin.elapsed());
        let begin = Instant::now();
        assert_done(&quorum.handle().submit(registration(1)).await.unwrap());
        println!("first command: {:?}", begin.elapsed());
        for number in 0..10 {
            let begin = Instant::now();
            let numbers = number * 1000..(number + 1) * 1000;
            assert_done(&quorum.handle().submit(create(numbers, 1)).await.unwrap());
            println!("1,000 topics: {:?}", begin.elapsed());
        }
        let before = quorum.handle().image();
        quorum.stop().await;

        let begin = Instant::now();
        let quorum = Quorum::start(directory.path().to_owned(), NODE).await.unwrap();
        println!("restart with 10,000 topics: {:?}", begin.elapsed());
        assert_eq!(quorum.handle().image(), before);
        let begin = Instant::now();
        let answer = quorum.handle().submit(registration(2)).await.unwrap();
        println!("registration with 10,000 partitions led: {:?}", begin.elapsed());
        assert_done(&answer);
        let image = quorum.handle().image();
        let epochs = image.topics().flat_map(|topic| &topic.partitions);
        assert!(epochs.into_iter().all(|partition| partition.leader_epoch.get() == 1));
        quorum.stop().await;
    });
}

#[test]
fn subscribers_hear_every_change_once_and_in_order() {
    on_control_thread(async {
        let quorum = Quorum::start_on(MemoryFiles::default(), NODE).await.unwrap();
        let (before, mut changes) = quorum.subscribe();
        assert_eq!(before.topic_count(), 0);
        let handle = quorum.handle();
        let mut answers = vec![handle.submit(registration(1)).await.unwrap()];
        for number in 0..5 {
            answers.push(handle.submit(create(number..number + 1, 2)).await.unwrap());
        }
        let refused = handle.submit(create(0..1, 1)).await.unwrap();
        assert!(!refused.changed);
        answers.push(handle.submit(delete(2)).await.unwrap());
        for answer in answers {
            assert!(answer.changed);
            let change = changes.try_recv().unwrap();
            assert_eq!(change.image.sequence(), answer.sequence);
            match &answer.response {
                Response::CreateTopics(results) => {
                    assert_eq!(change.delta.topics[0].after.as_ref(), results[0].as_ref().ok());
                }
                Response::DeleteTopics(results) => {
                    assert_eq!(change.delta.topics[0].before.as_ref(), results[0].as_ref().ok());
                }
                _ => assert!(change.delta.brokers_changed),
            }
        }
        assert!(changes.try_recv().is_err());
        quorum.stop().await;
    });
}

#[test]
fn commands_submitted_at_once_are_all_answered() {
    on_control_thread(async {
        let quorum = Quorum::start_on(MemoryFiles::default(), NODE).await.unwrap();
        quorum.handle().submit(registration(1)).await.unwrap();
        let asked: Vec<_> = (0..200)
            .map(|number| {
                let handle = quorum.handle();
                tokio::task::spawn_local(async move { handle.submit(create(number..number + 1, 1)).await })
            })
            .collect();
        for answer in asked {
            assert_done(&answer.await.unwrap().unwrap());
        }
        assert_eq!(quorum.handle().image().topic_count(), 200);
        quorum.stop().await;
    });
}

#[test]
fn a_thread_without_tokio_can_ask() {
    on_control_thread(async {
        let quorum = Quorum::start_on(MemoryFiles::default(), NODE).await.unwrap();
        let handle = quorum.handle();
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let thread = std::thread::spawn(move || {
            let answer = futures_lite::future::block_on(handle.submit(registration(1)));
            sender.send(answer).unwrap();
        });
        assert_done(&receiver.await.unwrap().unwrap());
        thread.join().unwrap();
        quorum.stop().await;
    });
}

#[test]
fn a_shard_can_ask_and_subscribe() {
    on_control_thread(async {
        let quorum = Quorum::start_on(MemoryFiles::default(), NODE).await.unwrap();
        quorum.handle().submit(registration(1)).await.unwrap();
        let (handle, (_, mut changes)) = (quorum.handle(), quorum.subscribe());
        let shard = crate::runtime::start_shard(0, None, move || async move {
            for number in 0..20 {
                let answer = handle.submit(create(number..number + 1, 1)).await.unwrap();
                assert_done(&answer);
                assert_eq!(changes.recv().await.unwrap().image.sequence(), answer.sequence);
            }
        });
        let shard = shard.unwrap();
        tokio::task::spawn_blocking(move || shard.join().unwrap()).await.unwrap();
        assert_eq!(quorum.handle().image().topic_count(), 20);
        quorum.stop().await;
    });
}

#[test]
fn a_long_log_is_cut_by_a_snapshot() {
    on_control_thread(async {
        let files = MemoryFiles::default();
        let quorum = Quorum::start_on(files.clone(), NODE).await.unwrap();
        quorum.handle().submit(registration(1)).await.unwrap();
        let (_, mut changes) = quorum.subscribe();
        for number in 0..60 {
            let numbers = number * 1000..(number + 1) * 1000;
            assert_done(&quorum.handle().submit(create(numbers, 1)).await.unwrap());
            changes.recv().await.unwrap();
        }
        let before = quorum.handle().image();
        quorum.raft.wait(None).metrics(|metrics| metrics.purged.is_some(), "purged").await.unwrap();
        quorum.stop().await;
        assert!(files.size_bytes(SNAPSHOT_FILE) > 1 << 20);

        let begin = Instant::now();
        let quorum = Quorum::start_on(files.restarted(), NODE).await.unwrap();
        println!("restart from a snapshot and a log, 60,000 topics: {:?}", begin.elapsed());
        assert_eq!(quorum.handle().image(), before);
        quorum.stop().await;

        files.remove(SNAPSHOT_FILE);
        let missing = Quorum::start_on(files.restarted(), NODE).await.map(drop);
        assert!(matches!(missing, Err(StartError::Incomplete)), "{missing:?}");
    });
}

#[test]
fn a_full_disk_refuses_what_grows_and_takes_what_heals() {
    on_control_thread(async {
        let files = MemoryFiles::default();
        let quorum = Quorum::start_on(files.clone(), NODE).await.unwrap();
        let handle = quorum.handle();
        handle.submit(registration(1)).await.unwrap();
        assert_done(&handle.submit(create(0..1, 1)).await.unwrap());
        files.set_available_bytes(Some(0));
        // The figure is that of the last write.
        assert_done(&handle.submit(create(1..2, 1)).await.unwrap());
        assert_eq!(handle.submit(create(2..3, 1)).await, Err(QuorumError::DiskFull));
        assert_done(&handle.submit(delete(0)).await.unwrap());
        files.set_available_bytes(None);
        assert_done(&handle.submit(create(2..3, 1)).await.unwrap());
        quorum.stop().await;
    });
}

#[test]
fn rot_in_what_was_acknowledged_is_refused_and_a_torn_end_is_not() {
    on_control_thread(async {
        let files = MemoryFiles::default();
        let quorum = Quorum::start_on(files.clone(), NODE).await.unwrap();
        quorum.handle().submit(registration(1)).await.unwrap();
        let middle = files.size_bytes(LOG_FILE) - 9;
        for number in 0..3 {
            quorum.handle().submit(create(number..number + 1, 1)).await.unwrap();
        }
        quorum.stop().await;
        let rotten = files.restarted();
        rotten.change(LOG_FILE, |file| file[middle] ^= 4);
        let refused = Quorum::start_on(rotten, NODE).await.map(drop);
        let Err(StartError::Log(OpenLogError::Log(LogError::Rotten { .. }))) = refused else {
            panic!("{refused:?}");
        };
        let torn = files.restarted();
        torn.change(LOG_FILE, |file| file.truncate(file.len() - 5));
        let quorum = Quorum::start_on(torn, NODE).await.unwrap();
        assert_eq!(quorum.handle().image().topic_count(), 2);
        quorum.stop().await;
    });
}
