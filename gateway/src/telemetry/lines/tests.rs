//! Full queues, full disks, rotated files.

use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::time::Instant;

use super::*;

fn file(path: &std::path::Path) -> Output {
    Output::open(&Target::File(path.to_owned())).unwrap()
}

const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn lines_come_out_whole_and_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let counters = LineCounters::new("access");
    let lines = Lines::start(file(&path), 100_000, Arc::clone(&counters)).unwrap();
    for n in 0..20_000 {
        assert!(lines.send(format!("line {n}\n").as_bytes()));
    }
    assert!(lines.flush(PATIENCE));
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.lines().enumerate().all(|(n, line)| line == format!("line {n}")));
    assert_eq!(
        (counters.written(), counters.dropped(), counters.errors()),
        (20_000, 0, 0)
    );
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o007,
        0,
        "not for others"
    );
}

#[test]
fn lines_of_many_threads_stay_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let lines = Lines::start(file(&path), 100_000, LineCounters::new("access")).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let lines = lines.clone();
            scope.spawn(move || {
                for n in 0..2000 {
                    assert!(lines.send(format!("{thread} {n} {}\n", "x".repeat(n % 200)).as_bytes()));
                }
            });
        }
    });
    assert!(lines.flush(PATIENCE));
    let text = fs::read_to_string(&path).unwrap();
    let mut next = [0_usize; 8];
    for line in text.lines() {
        let mut parts = line.split(' ');
        let mut number = || parts.next().unwrap().parse::<usize>().unwrap();
        let (thread, n) = (number(), number());
        assert_eq!((n, parts.next().unwrap().len()), (next[thread], n % 200));
        next[thread] += 1;
    }
    assert_eq!(next, [2000; 8]);
}

#[test]
fn a_rotated_file_is_left_at_reopen() {
    let folder = tempfile::tempdir().unwrap();
    let (path, old) = (folder.path().join("access.log"), folder.path().join("access.log.1"));
    let lines = Lines::start(file(&path), 100, LineCounters::new("access")).unwrap();
    lines.send(b"one\n");
    assert!(lines.flush(PATIENCE));
    fs::rename(&path, &old).unwrap();
    lines.send(b"two\n");
    assert!(lines.flush(PATIENCE));
    lines.reopen(file(&path));
    lines.send(b"three\n");
    assert!(lines.flush(PATIENCE));
    assert_eq!(fs::read_to_string(&old).unwrap(), "one\ntwo\n");
    assert_eq!(fs::read_to_string(&path).unwrap(), "three\n");
}

#[test]
fn nobody_waits_for_a_full_disk_and_lines_survive_until_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let counters = LineCounters::new("access");
    let full = file("/dev/full".as_ref());
    let lines = Lines::start(full, 8, Arc::clone(&counters)).unwrap();
    let started = Instant::now();
    let sent = (0..1000)
        .filter(|n| lines.send(format!("line {n}\n").as_bytes()))
        .count();
    // Who waited for this disk would wait for ever.
    assert!(started.elapsed() < Duration::from_secs(20), "the sender waited");
    assert!(sent < 1000 && counters.dropped() == 1000 - sent as u64);
    assert!(!lines.flush(PATIENCE), "a flush says that it did not work");
    assert!(counters.errors() > 0);
    lines.reopen(file(&path));
    let until = Instant::now() + PATIENCE;
    while !lines.flush(PATIENCE) {
        assert!(Instant::now() < until);
    }
    let text = fs::read_to_string(&path).unwrap();
    assert_eq!(text.lines().count(), sent, "what was accepted was written");
    assert!(text.starts_with("line 0\n") && text.ends_with('\n'));
    assert_eq!(counters.written(), sent as u64);
}

#[test]
fn memory_is_bounded_in_bytes_too() {
    let counters = LineCounters::new("access");
    let lines = Lines::start(file("/dev/full".as_ref()), 4096, Arc::clone(&counters)).unwrap();
    let line = vec![b'x'; LONGEST_LINE];
    let sent = (0..1000).filter(|_| lines.send(&line)).count();
    // One batch is in the thread's hands.
    assert!(sent <= 4096 * BYTES_A_LINE / LONGEST_LINE + 2, "{sent}");
    assert!(!lines.send(&vec![b'x'; LONGEST_LINE + 1]));
}

#[test]
fn a_pipe_that_nobody_reads_blocks_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pipe");
    assert!(
        std::process::Command::new("mkfifo")
            .arg(&path)
            .status()
            .unwrap()
            .success()
    );
    let counters = LineCounters::new("access");
    let lines = Lines::start(file(&path), 1000, Arc::clone(&counters)).unwrap();
    let started = Instant::now();
    for _ in 0..10_000 {
        lines.send(&[b'x'; 1000]);
    }
    assert!(started.elapsed() < Duration::from_secs(20));
    assert!(counters.dropped() > 0);
    assert!(!lines.flush(Duration::from_millis(50)));
    let mut reader = fs::File::open(&path).unwrap();
    reader.read_exact(&mut vec![0; 70_000]).unwrap();
}

#[test]
fn the_thread_ends_with_its_last_sender_even_when_the_disk_is_full() {
    let counters = LineCounters::new("access");
    let lines = Lines::start(file("/dev/full".as_ref()), 8, Arc::clone(&counters)).unwrap();
    for _ in 0..5 {
        lines.send(b"x\n");
    }
    drop(lines);
    let until = Instant::now() + PATIENCE;
    while counters.dropped() < 5 {
        assert!(Instant::now() < until, "the rest was not counted");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn standard_output_and_error_can_be_opened() {
    assert!(Output::open(&Target::Stdout).is_ok() && Output::open(&Target::Stderr).is_ok());
    assert!(Output::open(&Target::File("/no/such/folder/access.log".into())).is_err());
}
