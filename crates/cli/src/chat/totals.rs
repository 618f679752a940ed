//! What a chat has taken so far, as a small table.

use wgllm_engine::lookup::Drafts;
use wgllm_engine::session::Timings;

use crate::report::Bandwidth;
use crate::text::{bandwidth, count, duration, rate, table};

/// Sums over all answers, and the last one.
#[derive(Clone, Debug, Default)]
pub struct Totals {
    last: Timings,
    all: Timings,
    answers: usize,
}

impl Totals {
    /// Counts an answer.
    pub fn add(&mut self, timings: &Timings) {
        let all = &self.all;
        self.all = Timings {
            prompt_tokens: all.prompt_tokens + timings.prompt_tokens,
            cached_tokens: all.cached_tokens + timings.cached_tokens,
            ttft_ms: all.ttft_ms + timings.ttft_ms,
            // The first token of an answer takes no time of its own.
            tokens: all.tokens + timings.tokens,
            decode_ms: all.decode_ms + timings.decode_ms,
            drafts: all.drafts + timings.drafts,
        };
        self.last = timings.clone();
        self.answers += 1;
    }

    /// Tokens per second of the last answer.
    pub fn tps(&self) -> f64 {
        self.last.decode_tps()
    }

    /// What came of the last answer's drafts.
    pub fn drafts(&self) -> Drafts {
        self.last.drafts
    }

    /// The table: the last answer beside all of them.
    pub fn table(&self, found: &Bandwidth, held: usize, context: usize) -> String {
        let pair = |name: &str, what: &dyn Fn(&Timings) -> String| {
            vec![name.into(), what(&self.last), what(&self.all)]
        };
        let speed = |tokens: f64, ms: f64| match ms > 0.0 && tokens > 0.0 {
            true => format!("{}/s", rate(tokens / ms * 1e3)),
            false => "-".into(),
        };
        let (last, answers) = (&self.last, self.answers);
        let share = match (found.share, found.device) {
            (Some(share), Some(device)) => format!("{:.0} % of {}", share * 100.0, bandwidth(device)),
            _ => "-".into(),
        };
        let decoded = [last.tokens.saturating_sub(1), self.all.tokens.saturating_sub(answers)];
        let accepted = |t: &Timings| match t.drafts.share() {
            Some(share) => format!("{:.0} % of {}", share * 100.0, count(t.drafts.drafted as u64)),
            None => "-".into(),
        };
        let mut rows = vec![
            vec![String::new(), "last answer".into(), format!("all {}", count(answers as u64))],
            pair("prompt tokens", &|t| count(t.prompt_tokens as u64)),
            pair("  from the cache", &|t| count(t.cached_tokens as u64)),
            pair("  computed", &|t| count((t.prompt_tokens - t.cached_tokens) as u64)),
            pair("  speed", &|t| speed((t.prompt_tokens - t.cached_tokens) as f64, t.ttft_ms)),
            pair("first token after", &|t| duration(t.ttft_ms)),
            pair("tokens answered", &|t| count(t.tokens as u64)),
            vec![
                "  speed".into(),
                speed(decoded[0] as f64, last.decode_ms),
                speed(decoded[1] as f64, self.all.decode_ms),
            ],
            vec!["  of the bandwidth".into(), share],
            vec![
                "cache in use".into(),
                format!("{} of {}", count(held as u64), count(context as u64)),
                format!("{:.0} %", 100.0 * held as f64 / context.max(1) as f64),
            ],
        ];
        if self.all.drafts.drafted > 0 {
            rows.insert(rows.len() - 2, pair("  drafts accepted", &accepted));
        }
        table(&rows)
    }
}
