//! Files that are not as they were written: an import refuses them, and brings no event that is not confirmed.

use std::sync::Arc;

use projector::export_file::{ExportFileError, MAX_LINE_BYTES};
use projector::import::ImportError;

use super::memory_log::MemoryLog;
use super::{Files, filled};

/// Imports a file with these bytes into an empty log. Returns the error and the events that the log has then.
async fn import(bytes: &[u8]) -> (ExportFileError, usize) {
    let (files, log) = (Files::new(), Arc::new(MemoryLog::new()));
    std::fs::write(files.path("damaged"), bytes).unwrap();
    match files.import("damaged", &log).await.unwrap_err() {
        ImportError::File(error) => (error, log.events().len()),
        other => panic!("{other}"),
    }
}

/// The lines of an export of 1,609 events: four blocks.
async fn exported_lines() -> Vec<Vec<u8>> {
    let files = Files::new();
    files.export("whole", &filled(200), None).await.unwrap();
    let bytes = std::fs::read(files.path("whole")).unwrap();
    let lines: Vec<_> = bytes.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
    assert_eq!(lines.len(), 1_609 + 1 + 4 + 1);
    lines
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_ends_too_early_is_incomplete() {
    let lines = exported_lines().await;
    // Behind the first line, in a block, behind a block, and before the last line.
    for (kept, imported) in [(1, 0), (2, 0), (300, 0), (514, 512), (600, 512), (lines.len() - 1, 1_609)] {
        let (error, events) = import(&lines[..kept].concat()).await;
        assert!(matches!(error, ExportFileError::Incomplete { .. }), "{kept} lines: {error}");
        assert_eq!(events, imported, "{kept} lines");
    }
    let whole = lines.concat();
    for kept in [1, lines[0].len() - 1, whole.len() - 1] {
        let (error, _) = import(&whole[..kept]).await;
        assert!(matches!(error, ExportFileError::Incomplete { .. }), "{kept} bytes: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_was_changed_left_out_moved_or_added_is_noticed() {
    let lines = exported_lines().await;
    let changed = |change: &dyn Fn(&mut Vec<Vec<u8>>)| {
        let mut lines = lines.clone();
        change(&mut lines);
        lines.concat()
    };
    let replace = |line: &mut Vec<u8>, part: &str, other: &str| {
        let text = String::from_utf8(line.clone()).unwrap();
        assert!(text.contains(part), "{text}");
        *line = text.replacen(part, other, 1).into_bytes();
    };
    let files: [(&str, Vec<u8>); 9] = [
        ("a body", changed(&|lines| replace(&mut lines[700], "body 8", "body 9"))),
        ("an event that is no JSON any more", changed(&|lines| replace(&mut lines[700], "{", "["))),
        ("the first line", changed(&|lines| replace(&mut lines[0], "\"events\":1609", "\"events\":1608"))),
        ("a confirmation", changed(&|lines| replace(&mut lines[513], "\"events\":512", "\"events\":511"))),
        ("one line less", changed(&|lines| drop(lines.remove(700)))),
        ("two lines swapped", changed(&|lines| lines.swap(700, 701))),
        ("a line twice", changed(&|lines| lines.insert(700, lines[700].clone()))),
        ("a block less", changed(&|lines| drop(lines.drain(514..1_027)))),
        ("no confirmation", changed(&|lines| drop(lines.remove(lines.len() - 2)))),
    ];
    for (what, bytes) in files {
        let (error, events) = import(&bytes).await;
        // A line more may also be one more than a block has.
        assert!(matches!(error, ExportFileError::Changed { .. } | ExportFileError::TooLong { .. }), "{what}: {error}");
        assert!(events % 512 == 0, "{what}: {events} events were imported");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_follows_the_last_line_is_refused() {
    let lines = exported_lines().await;
    let (error, events) = import(&[lines.concat(), lines[0].clone()].concat()).await;
    assert!(matches!(error, ExportFileError::Trailing { line: 1_616 }), "{error}");
    assert_eq!(events, 1_609);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_export_is_refused() {
    let lines = exported_lines().await;
    let without_end = "x".repeat(MAX_LINE_BYTES + 1).into_bytes();
    for bytes in [&b""[..], b"\n", b"{}\n", b"PK\x03\x04\n", b"hello", &without_end, &lines[1], &lines[513]] {
        let (error, events) = import(bytes).await;
        assert!(matches!(error, ExportFileError::NoExport), "{error}");
        assert_eq!(events, 0);
    }
    let newer = String::from_utf8(lines[0].clone()).unwrap().replace("\"format\":1", "\"format\":2");
    assert!(matches!(import(newer.as_bytes()).await.0, ExportFileError::NewerFormat));
}

/// A reader keeps no more than a block and a line.
#[tokio::test(flavor = "multi_thread")]
async fn lines_and_blocks_without_an_end_are_refused() {
    let lines = exported_lines().await;
    let endless_line = [lines[0].clone(), vec![b'x'; MAX_LINE_BYTES + 1]].concat();
    assert!(matches!(import(&endless_line).await.0, ExportFileError::TooLong { line: 2 }));
    let endless_block = [lines[0].clone(), lines[1].repeat(600)].concat();
    assert!(matches!(import(&endless_block).await.0, ExportFileError::TooLong { line: 514 }));
    let mut long = lines[1].clone();
    long.splice(long.len() - 1..long.len() - 1, vec![b' '; MAX_LINE_BYTES / 2]);
    let large_block = [lines[0].clone(), long.repeat(9)].concat();
    assert!(matches!(import(&large_block).await.0, ExportFileError::TooLong { line: 3 }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compressed_file_that_is_cut_or_changed_is_refused() {
    let files = Files::new();
    files.export("whole.zst", &filled(200), None).await.unwrap();
    let whole = std::fs::read(files.path("whole.zst")).unwrap();
    for kept in [10, whole.len() / 2, whole.len() - 1] {
        let (error, _) = import(&whole[..kept]).await;
        assert!(matches!(error, ExportFileError::Incomplete { .. } | ExportFileError::NoExport), "{kept}: {error}");
    }
    let mut changed = whole.clone();
    changed[whole.len() / 2] ^= 0x10;
    let (error, events) = import(&changed).await;
    assert!(matches!(error, ExportFileError::Read(_) | ExportFileError::Changed { .. }), "{error}");
    assert!(events % 512 == 0, "{events}");
}
