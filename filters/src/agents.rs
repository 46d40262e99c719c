//! Bots by their User-Agent: the ones that say so, found as whole words. Whoever hides is not found here. The words, with their
//! sources, are in `agents/bots.txt`.

use std::sync::LazyLock;

use aho_corasick::{AhoCorasick, Match};
use portcullis_config::key::BOT_CATEGORIES;

/// A word and its category a line.
const WRITTEN: &str = include_str!("agents/bots.txt");
/// Bytes of a User-Agent that are looked at.
const LOOKED_AT: usize = 1024;

static BOTS: LazyLock<Bots> = LazyLock::new(|| Bots::read(WRITTEN));

/// All words as one automaton: a text is read once, however many words there are.
struct Bots {
    words: Option<AhoCorasick>,
    categories: Vec<&'static str>,
}

impl Bots {
    fn read(text: &str) -> Self {
        let (words, categories): (Vec<_>, Vec<_>) = entries(text).unzip();
        Self {
            words: AhoCorasick::builder().ascii_case_insensitive(true).build(words).ok(),
            categories,
        }
    }
}

/// Words and their categories. A line that is neither an entry nor a comment is left out; a test finds it.
fn entries(text: &str) -> impl Iterator<Item = (&str, &'static str)> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| {
        let (word, category) = line.split_once('\t')?;
        Some((word, BOT_CATEGORIES.into_iter().find(|known| *known == category)?))
    })
}

/// Reads the words, so that no request has to wait for it.
pub fn prepare() {
    LazyLock::force(&BOTS);
}

/// The category of a bot. `None`: not known as one.
pub(crate) fn category(user_agent: &[u8]) -> Option<&'static str> {
    let text = user_agent.get(..LOOKED_AT).unwrap_or(user_agent);
    let bots = &*BOTS;
    let beside = |place: Option<usize>| place.and_then(|at| text.get(at)).is_some_and(u8::is_ascii_alphanumeric);
    let found = bots.words.as_ref()?.find_overlapping_iter(text);
    let whole = found.filter(|word| !beside(word.start().checked_sub(1)) && !beside(Some(word.end())));
    let longest = whole.max_by_key(Match::len)?;
    bots.categories.get(longest.pattern().as_usize()).copied()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{BOTS, WRITTEN, category, entries};

    fn of(text: &str) -> Option<&'static str> {
        category(text.as_bytes())
    }

    #[test]
    fn every_line_is_read_and_every_word_is_found() {
        assert!(BOTS.words.is_some());
        let lines = WRITTEN
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with('#'));
        let read: Vec<_> = entries(WRITTEN).collect();
        assert_eq!(lines.count(), read.len(), "a line is none");
        let words: BTreeSet<_> = read.iter().map(|(word, _)| *word).collect();
        assert_eq!(words.len(), read.len(), "a word stands there twice");
        for (word, kind) in read {
            assert_eq!(word, word.to_ascii_lowercase().trim());
            let said = format!(
                "Mozilla/5.0 (compatible; {}/1.0; +https://example.com)",
                word.to_ascii_uppercase()
            );
            assert_eq!(of(&said), Some(kind), "{word}");
        }
    }

    #[test]
    fn bots_are_found_as_whole_words() {
        for (text, kind) in [
            (
                "Mozilla/5.0 (compatible; GPTBot/1.2; +https://openai.com/gptbot)",
                "ai_crawler",
            ),
            ("Mozilla/5.0; ChatGPT-User/1.0", "ai_assistant_user"),
            ("Mozilla/5.0 (compatible; Googlebot/2.1)", "search_engine"),
            ("Mozilla/5.0 (compatible; bingbot/2.0)", "search_engine"),
            ("Mozilla/5.0 (compatible; SemrushBot-OCOB/1; ...)", "ai_crawler"),
            ("Mozilla/5.0 (compatible; SemrushBot/7~bl)", "seo_research"),
            ("CCBot/2.0 (https://commoncrawl.org/faq/)", "ai_crawler"),
        ] {
            assert_eq!(of(text), Some(kind), "{text}");
        }
        for text in [
            "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/131.0 Safari/537.36",
            "Mozilla/5.0 (Macintosh) AppleWebKit/605.1.15 Version/18.1 Safari/605.1.15",
            "Mozilla/5.0 (X11; rv:133.0) Gecko/20100101 Firefox/133.0",
            "Mozilla/5.0 (Linux; Android 13; CUBOT NOTE 21) AppleWebKit/537.36 Chrome/120.0 Mobile Safari/537.36",
            "Mozilla/5.0 Brave/1.60 Fluid/2.0 Odin/1.0 Scandinavia Nota",
            "mygptbots",
            "gptbot2",
            "",
        ] {
            assert_eq!(of(text), None, "{text}");
        }
    }

    #[test]
    fn only_the_beginning_is_looked_at() {
        let far = format!("{}GPTBot/1.0", " ".repeat(super::LOOKED_AT));
        assert_eq!(of(&far), None);
    }
}
