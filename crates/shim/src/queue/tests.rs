use super::*;
use crate::record::{Stage, entries, number, peek};

const META: Meta = Meta {
    at: 1,
    instance: 7,
    stream: Stream::Stdout,
    stage: Stage::Running,
    flags: 0,
};
const STDERR: Meta = Meta {
    stream: Stream::Stderr,
    ..META
};

/// What waits in the queue, without the time in a sentence about the disk.
fn waiting(queue: &Queue) -> Vec<(Stream, u8, String)> {
    let mut buffer = queue.lock().buffer.clone();
    number(&mut buffer, 1);
    let mut rest = &buffer[..];
    let mut found = Vec::new();
    while let Some(span) = peek(rest) {
        assert_eq!(entries(&rest[..span.size], 0, 100, &mut found), None);
        rest = &rest[span.size..];
    }
    let said = |line: Vec<u8>| {
        let line = String::from_utf8(line).unwrap();
        let count = line.split_once(" lines were dropped");
        count.map_or(line.clone(), |(count, _)| format!("{count} dropped"))
    };
    found
        .into_iter()
        .map(|entry| (entry.meta.stream, entry.meta.flags, said(entry.line)))
        .collect()
}

/// The disk has not written for too long, and what is read is dropped.
fn give_up(intake: &mut Intake<'_>) {
    intake.queue.lock().writing = CAPACITY;
    intake.dropping_since = Some(Instant::now());
    assert!(intake.may_read());
}

fn write_again(intake: &mut Intake<'_>) {
    intake.queue.lock().writing = 0;
    intake.flush(&META);
}

fn said(stream: Stream, flags: u8, line: &str) -> (Stream, u8, String) {
    (stream, flags, line.to_owned())
}

#[test]
fn a_line_of_which_a_part_is_dropped_is_dropped_to_its_end_and_counts_once() {
    let queue = Queue::default();
    let mut intake = Intake::new(&queue);
    give_up(&mut intake);
    intake.take(&META, Piece::Part(b"beginning", true));
    intake.take(&META, Piece::Part(b"middle", true));
    write_again(&mut intake);
    intake.take(&META, Piece::Part(b"more", true));
    give_up(&mut intake);
    intake.take(&META, Piece::Part(b"more that was told of", true));
    write_again(&mut intake);
    intake.take(&META, Piece::Part(b"end", false));
    intake.take(&META, Piece::Part(b"another", false));
    let wanted = [
        said(Stream::System, DROPPED, "1 dropped"),
        said(Stream::Stdout, 0, "another"),
    ];
    assert_eq!(waiting(&queue), wanted);
}

#[test]
fn the_end_of_a_dropped_line_is_told_from_the_lines_that_are_read_with_it() {
    for streams in [[&META, &STDERR], [&STDERR, &META]] {
        let queue = Queue::default();
        let mut intake = Intake::new(&queue);
        give_up(&mut intake);
        intake.take(streams[0], Piece::Part(b"beginning", true));
        // Its end, and one more.
        intake.take(streams[0], Piece::Whole([b"e", b"nd\ntwo\n"], 2));
        intake.take(streams[0], Piece::Part(b"third", true));
        intake.take(streams[1], Piece::Whole([b"", b"four\n"], 1));
        write_again(&mut intake);
        intake.take(streams[1], Piece::Whole([b"fi", b"ve\n"], 1));
        intake.take(streams[0], Piece::Whole([b"e", b"nd\nsix\nseven\n"], 3));
        intake.take(streams[0], Piece::Whole([b"", b"eight\n"], 1));
        let wanted = [
            said(Stream::System, DROPPED, "4 dropped"),
            said(streams[1].stream, 0, "five"),
            said(streams[0].stream, 0, "six"),
            said(streams[0].stream, 0, "seven"),
            said(streams[0].stream, 0, "eight"),
        ];
        assert_eq!(waiting(&queue), wanted);
    }
}

#[test]
fn a_line_whose_beginning_was_taken_ends_where_the_rest_is_dropped() {
    let queue = Queue::default();
    let mut intake = Intake::new(&queue);
    intake.take(&STDERR, Piece::Part(b"beginning", true));
    give_up(&mut intake);
    intake.take(&STDERR, Piece::Part(b"middle", true));
    write_again(&mut intake);
    // It has been told of: a second time without the disk loses another one.
    give_up(&mut intake);
    intake.take(&STDERR, Piece::Whole([b"e", b"nd\ntwo\n"], 2));
    intake.finish(&META);
    let wanted = [
        said(Stream::Stderr, PARTIAL, "beginning"),
        said(Stream::Stderr, 0, ""),
        said(Stream::System, DROPPED, "1 dropped"),
        said(Stream::System, DROPPED, "1 dropped"),
    ];
    assert_eq!(waiting(&queue), wanted);
}
