//! The commands of a Redis in the order in which it has executed them: the lines of its MONITOR.

/// One command.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Command {
    /// Microseconds since 1970 by the clock of Redis.
    pub(crate) at: u64,
    /// The client's connection.
    pub(crate) from: String,
    pub(crate) words: Vec<String>,
}

impl Command {
    /// Parses a line. `None` for a command that a script has called.
    pub(crate) fn parse(line: &str) -> Option<Self> {
        let (at, rest) = line.split_once(' ').unwrap();
        let (seconds, micros) = at.split_once('.').unwrap();
        let at = seconds.parse::<u64>().unwrap() * 1_000_000 + micros.parse::<u64>().unwrap();
        let (source, words) = rest.split_once("] ").unwrap();
        let from = source.trim_start_matches("[0 ").to_owned();
        (!source.ends_with("lua")).then(|| Self { at, from, words: parse_words(words) })
    }
}

/// Parses words in quotation marks with escapes. (MONITOR also escapes bytes above ASCII. Tally sends none.)
fn parse_words(line: &str) -> Vec<String> {
    let (mut words, mut word) = (Vec::new(), None::<String>);
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        match (character, &mut word) {
            ('"', None) => word = Some(String::new()),
            ('"', Some(_)) => words.extend(word.take()),
            ('\\', Some(word)) => word.push(match characters.next().unwrap() {
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                itself => itself,
            }),
            (character, Some(word)) => word.push(character),
            (_, None) => {}
        }
    }
    words
}
