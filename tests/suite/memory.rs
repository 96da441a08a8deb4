//! `backport::testing`: a client in memory that can do what a peer on a socket can.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::time::Duration;

use backport::testing::{self, Setup};
use backport::{receiving, Adapter, Client, Closing, Remote, Result};
use crossbeam_channel::unbounded;

use crate::support::{gate, next};

fn echo() -> impl Adapter {
    receiving(|client, data| Ok(client.write(data)?))
}

#[test]
fn each_write_is_one_chunk_at_the_adapter() {
    let (sender, chunks) = unbounded();
    let mut client = testing::connect(receiving(move |_, data| Ok(sender.send(data.to_vec())?)));
    for chunk in ["a", "bc", "d"] {
        client.write_all(chunk.as_bytes()).unwrap();
    }
    assert!(matches!(client.finish(), Closing::ByPeer));
    assert_eq!(chunks.try_iter().collect::<Vec<_>>(), [b"a".to_vec(), b"bc".to_vec(), b"d".to_vec()]);
}

#[test]
fn a_half_closed_client_gets_its_whole_reply() {
    struct AtTheEnd;
    impl Adapter for AtTheEnd {
        fn serving(&mut self, client: &Client, input: &mut backport::Input) -> Result {
            let mut all = Vec::new();
            input.read_to_end(&mut all)?;
            client.write(all.repeat(100_000))?;
            Ok(())
        }
    }
    let mut client = testing::connect(AtTheEnd);
    client.write_all(b"0123456789").unwrap();
    client.close_write();
    let mut reply = Vec::new();
    client.read_to_end(&mut reply).unwrap();
    assert_eq!(reply.len(), 1_000_000);
    assert!(matches!(client.finish(), Closing::ByPeer));
}

#[test]
fn a_client_that_stalls_is_too_slow() {
    struct Talker;
    impl Adapter for Talker {
        fn opening(&mut self, client: &Client) -> Result {
            assert_eq!(client.remote(), &Remote::Memory);
            let error = client.write([0; 1000]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::TimedOut);
            Err(error.into())
        }
    }
    let client = Setup::new().window(100).write_timeout(Duration::from_millis(200)).connect(Talker);
    assert!(matches!(client.ended(), Closing::TooSlow));
}

#[test]
fn what_is_posted_to_a_client_that_stalls_arrives_in_order_once_it_reads() {
    let mut client = Setup::new().window(100).connect(receiving(|client, _| {
        for record in 0..100_u8 {
            client.post([record; 10])?;
        }
        Ok(client.write("end")?)
    }));
    client.write_all(b"go").unwrap();
    let mut expected: Vec<u8> = (0..100_u8).flat_map(|record| [record; 10]).collect();
    expected.extend(b"end");
    let mut reply = vec![0; expected.len()];
    client.read_exact(&mut reply).unwrap();
    assert_eq!(reply, expected);
}

#[test]
fn a_client_that_reads_slowly_gets_all_that_was_being_written_at_the_close() {
    const PARTS: usize = 26;
    let (sender, clients) = unbounded();
    let mut client = Setup::new().window(1000).connect(receiving(move |client, _| {
        sender.send(client.clone())?;
        Ok(client.write([7; 1000 * PARTS])?)
    }));
    client.write_all(b"go").unwrap();
    let mut part = [0; 1000];
    client.read_exact(&mut part).unwrap();
    next(&clients).close();
    for _ in 1..PARTS {
        // In all it takes longer than a peer may stand still then.
        std::thread::sleep(Duration::from_millis(50));
        client.read_exact(&mut part).unwrap();
        assert_eq!(part, [7; 1000]);
    }
    assert_eq!(client.read(&mut part).unwrap(), 0);
    assert!(matches!(client.ended(), Closing::ByServer));
}

#[test]
fn a_backlog_over_its_limit_is_too_slow() {
    let mut client =
        Setup::new().window(10).max_backlog(1000).connect(receiving(|client, _| Ok(client.post([0; 2000])?)));
    client.write_all(b"go").unwrap();
    assert!(matches!(client.ended(), Closing::TooSlow));
}

#[test]
fn a_client_that_goes_away_is_lost_or_ended_it() {
    let client = testing::connect(echo());
    client.close();
    assert!(matches!(client.ended(), Closing::ByPeer | Closing::Lost(_)));
}

#[test]
fn a_client_that_resets_is_lost_with_what_it_had_sent() {
    let (sender, told) = unbounded();
    let (keeper, gate) = gate();
    let mut client = testing::connect(receiving(move |client, data| {
        sender.send(data.to_vec())?;
        gate.wait();
        assert_eq!(client.write("late").unwrap_err().kind(), ErrorKind::BrokenPipe);
        Ok(())
    }));
    client.write_all(b"first").unwrap();
    assert_eq!(crate::support::next(&told), b"first");
    client.write_all(b"second").unwrap();
    client.reset();
    drop(keeper);
    assert!(matches!(client.ended(), Closing::Lost(_)));
    assert!(told.try_recv().is_err(), "the rest is not handed over");
}

#[test]
fn one_thread_reads_while_another_writes() {
    let client = Setup::new().window(1000).connect(echo());
    let lines = std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0..1000 {
                (&client).write_all(format!("{number}\n").as_bytes()).unwrap();
            }
            client.close_write();
        });
        BufReader::new(&client).lines().map(|line| line.unwrap()).collect::<Vec<_>>()
    });
    assert_eq!(lines, (0..1000).map(|number: i32| number.to_string()).collect::<Vec<_>>());
}

#[test]
fn a_client_that_says_nothing_is_idle() {
    let client = Setup::new().idle_timeout(Duration::from_millis(200)).connect(echo());
    assert!(matches!(client.ended(), Closing::Idle));
}

#[test]
fn the_server_can_close_and_stop() {
    let mut client = testing::connect(echo());
    client.server().clients()[0].close();
    assert_eq!(client.read(&mut [0; 8]).unwrap(), 0);
    assert!(matches!(client.ended(), Closing::ByServer));

    let mut client = testing::connect(echo());
    client.server().stop();
    assert_eq!(client.read(&mut [0; 8]).unwrap(), 0);
    assert!(matches!(client.ended(), Closing::Stopping));
}

#[test]
fn a_read_that_waits_in_vain_fails_at_the_deadline() {
    let mut client = Setup::new().deadline(Duration::from_millis(50)).connect(echo());
    assert_eq!(client.read(&mut [0; 8]).unwrap_err().kind(), ErrorKind::TimedOut);
}

#[test]
fn an_adapter_that_hangs_fails_the_test_and_does_not_hang_it() {
    let (keeper, gate) = gate();
    let setup = Setup::new().window(10).deadline(Duration::from_millis(50));
    let mut client = setup.connect(receiving(move |_, _| {
        gate.wait();
        Ok(())
    }));
    let error = client.write_all(&[0; 1000]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    // Dropped in the panic: its machine is stopped at once, and gives up on the adapter's thread.
    let panic = catch_unwind(AssertUnwindSafe(move || client.ended()));
    drop(keeper);
    let said = *panic.unwrap_err().downcast::<String>().unwrap();
    assert!(said.contains("has not ended within 50ms"), "{said}");
}

#[test]
fn a_panic_and_an_error_are_seen() {
    let mut client = testing::connect(receiving(|_, _| panic!("on purpose")));
    client.write_all(b"x").unwrap();
    assert!(matches!(client.ended(), Closing::Panicked(message) if message == "on purpose"));

    let mut client = testing::connect(receiving(|_, _| Err("on purpose".into())));
    client.write_all(b"x").unwrap();
    assert!(matches!(client.ended(), Closing::Failed(error) if error.to_string() == "on purpose"));
}

#[test]
fn deadlines_may_be_absurd() {
    let mut client = testing::Setup::new().deadline(Duration::MAX).connect(echo());
    client.write_all(b"x").unwrap();
    client.read_exact(&mut [0]).unwrap();
    for _ in 0..20 {
        // It counts for the test's end, and not for the start.
        drop(testing::Setup::new().deadline(Duration::from_nanos(1)).connect(echo()));
    }
}

#[test]
fn a_write_that_finds_no_room_at_all_waits_for_it() {
    let twice = receiving(|client, data| {
        client.write(data)?;
        Ok(client.write(data)?)
    });
    let mut client = Setup::new().window(4).connect(twice);
    client.write_all(b"full").unwrap();
    // Both fit exactly, one after the other.
    let mut reply = [0; 8];
    client.read_exact(&mut reply).unwrap();
    assert_eq!(&reply, b"fullfull");
    assert!(matches!(client.finish(), Closing::ByPeer));
}
