//! Bots by their User-Agent: the ones that say so, found as whole words. Whoever hides is not found here.

/// A bot's word, in lower case, and its category. Longer words win over shorter ones.
const BOTS: &[(&str, &str)] = &[
    // Crawlers that collect text for models.
    ("amazonbot", "ai_crawler"),
    ("anthropic-ai", "ai_crawler"),
    ("applebot-extended", "ai_crawler"),
    ("bytespider", "ai_crawler"),
    ("ccbot", "ai_crawler"),
    ("claudebot", "ai_crawler"),
    ("cohere-ai", "ai_crawler"),
    ("gptbot", "ai_crawler"),
    ("meta-externalagent", "ai_crawler"),
    ("perplexitybot", "ai_crawler"),
    // Fetchers that act for a person.
    ("chatgpt-user", "ai_assistant_user"),
    ("claude-user", "ai_assistant_user"),
    ("meta-externalfetcher", "ai_assistant_user"),
    ("mistralai-user", "ai_assistant_user"),
    ("perplexity-user", "ai_assistant_user"),
    // Search.
    ("applebot", "search_engine"),
    ("baiduspider", "search_engine"),
    ("bingbot", "search_engine"),
    ("claude-searchbot", "search_engine"),
    ("duckduckbot", "search_engine"),
    ("googlebot", "search_engine"),
    ("oai-searchbot", "search_engine"),
    ("petalbot", "search_engine"),
    ("qwantbot", "search_engine"),
    ("seznambot", "search_engine"),
    ("sogou", "search_engine"),
    ("yandexbot", "search_engine"),
    ("yeti", "search_engine"),
    // Link previews.
    ("discordbot", "social_preview"),
    ("facebookexternalhit", "social_preview"),
    ("linkedinbot", "social_preview"),
    ("pinterestbot", "social_preview"),
    ("slackbot", "social_preview"),
    ("telegrambot", "social_preview"),
    ("twitterbot", "social_preview"),
    // Search engine optimisation.
    ("ahrefsbot", "seo_research"),
    ("dotbot", "seo_research"),
    ("mj12bot", "seo_research"),
    ("semrushbot", "seo_research"),
    // Archives and monitors.
    ("archive.org_bot", "archiver"),
    ("ia_archiver", "archiver"),
    ("pingdom.com_bot", "monitoring_uptime"),
    ("statuscake", "monitoring_uptime"),
    ("uptimerobot", "monitoring_uptime"),
];

/// Bytes of a User-Agent that are looked at.
const LOOKED_AT: usize = 1024;

/// The category of a bot. `None`: not known as one.
pub(crate) fn category(user_agent: &[u8]) -> Option<&'static str> {
    let user_agent = user_agent.get(..LOOKED_AT).unwrap_or(user_agent);
    let found = BOTS.iter().filter(|(word, _)| has_word(user_agent, word.as_bytes()));
    found.max_by_key(|(word, _)| word.len()).map(|(_, category)| *category)
}

/// Whether `word` (in lower case) stands in `text` with no letter or digit beside it.
fn has_word(text: &[u8], word: &[u8]) -> bool {
    let beside = |place: Option<usize>| place.and_then(|at| text.get(at)).is_some_and(u8::is_ascii_alphanumeric);
    text.windows(word.len()).enumerate().any(|(at, window)| {
        window.eq_ignore_ascii_case(word) && !beside(at.checked_sub(1)) && !beside(Some(at + word.len()))
    })
}

#[cfg(test)]
mod tests {
    use super::category;

    #[test]
    fn bots_are_found_as_whole_words() {
        let of = |text: &str| category(text.as_bytes());
        assert_eq!(
            of("Mozilla/5.0 (compatible; GPTBot/1.2; +https://openai.com/gptbot)"),
            Some("ai_crawler")
        );
        assert_eq!(of("Mozilla/5.0; ChatGPT-User/1.0"), Some("ai_assistant_user"));
        assert_eq!(of("Mozilla/5.0 (compatible; Googlebot/2.1)"), Some("search_engine"));
        assert_eq!(of("Mozilla/5.0 (compatible; bingbot/2.0)"), Some("search_engine"));
        assert_eq!(
            of("Mozilla/5.0 (...) Applebot-Extended/0.1"),
            Some("ai_crawler"),
            "the longer word wins"
        );
        assert_eq!(
            of("Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/131.0 Safari/537.36"),
            None
        );
        assert_eq!(
            of("Mozilla/5.0 (Macintosh) AppleWebKit/605.1.15 Version/18.1 Safari/605.1.15"),
            None
        );
        assert_eq!(of("Mozilla/5.0 (X11; rv:133.0) Gecko/20100101 Firefox/133.0"), None);
        assert_eq!(of("mygptbots"), None);
    }
}
