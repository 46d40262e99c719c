//! The text that Prometheus scrapes (text exposition format 0.0.4): families sorted by name, series sorted by labels, one HELP and one
//! TYPE each. It holds the samples of one scrape and no counter.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// `Content-Type` of the text.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Most series in one scrape. What is over is left out and counted in `portcullis_metrics_dropped_series`.
pub const MOST_SERIES: usize = 200_000;

/// A label's name and value.
pub type Label<'a> = (&'static str, &'a str);

/// Something that adds samples to a scrape.
pub trait Collect: Send + Sync {
    /// Adds its samples.
    fn collect(&self, out: &mut Exposition);
}

/// The kind of a family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
}

impl Kind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// The state of a histogram: counts of each bucket (not added up), the last for everything above the last bound.
#[derive(Debug, Clone, PartialEq)]
pub struct Buckets {
    /// Upper bounds, inclusive, in rising order.
    pub bounds: &'static [f64],
    /// One more than there are bounds.
    pub counts: Vec<u64>,
    /// Sum of what was observed.
    pub sum: f64,
}

#[derive(Debug)]
enum Sample {
    Count(u64),
    Value(f64),
    Buckets(Buckets),
}

#[derive(Debug)]
struct Family {
    kind: Kind,
    help: &'static str,
    /// By the text of the labels, without braces.
    series: BTreeMap<String, Sample>,
}

/// The samples of one scrape.
///
/// The same series given twice: counters and histograms are added up, of a gauge the last counts.
#[derive(Debug, Default)]
pub struct Exposition {
    families: BTreeMap<&'static str, Family>,
    series: usize,
    dropped: u64,
}

impl Exposition {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes sure that a family is named even while it has no series.
    pub fn declare_counter(&mut self, name: &'static str, help: &'static str) {
        self.family(name, Kind::Counter, help);
    }

    /// The same for a gauge.
    pub fn declare_gauge(&mut self, name: &'static str, help: &'static str) {
        self.family(name, Kind::Gauge, help);
    }

    /// A counter: its name ends in `_total`.
    pub fn counter(&mut self, name: &'static str, help: &'static str, labels: &[Label<'_>], value: u64) {
        self.add(name, Kind::Counter, help, labels, Sample::Count(value));
    }

    /// A counter of seconds: its name ends in `_seconds_total`.
    pub fn counter_seconds(&mut self, name: &'static str, help: &'static str, labels: &[Label<'_>], value: f64) {
        self.add(name, Kind::Counter, help, labels, Sample::Value(value));
    }

    /// A gauge.
    pub fn gauge(&mut self, name: &'static str, help: &'static str, labels: &[Label<'_>], value: f64) {
        self.add(name, Kind::Gauge, help, labels, Sample::Value(value));
    }

    /// A gauge of a whole number.
    #[allow(clippy::cast_precision_loss)] // exact up to 2^53
    pub fn gauge_u64(&mut self, name: &'static str, help: &'static str, labels: &[Label<'_>], value: u64) {
        self.gauge(name, help, labels, value as f64);
    }

    /// A gauge of yes (1) or no (0).
    pub fn gauge_bool(&mut self, name: &'static str, help: &'static str, labels: &[Label<'_>], value: bool) {
        self.gauge(name, help, labels, f64::from(u8::from(value)));
    }

    /// A histogram.
    pub fn histogram(&mut self, name: &'static str, help: &'static str, labels: &[Label<'_>], value: Buckets) {
        self.add(name, Kind::Histogram, help, labels, Sample::Buckets(value));
    }

    fn family(&mut self, name: &'static str, kind: Kind, help: &'static str) -> &mut Family {
        self.families.entry(name).or_insert_with(|| Family {
            kind,
            help,
            series: BTreeMap::new(),
        })
    }

    fn add(&mut self, name: &'static str, kind: Kind, help: &'static str, labels: &[Label<'_>], sample: Sample) {
        let full = self.series >= MOST_SERIES && name != DROPPED;
        let family = self.family(name, kind, help);
        let text = label_text(labels);
        let known = family.series.get_mut(&text);
        if family.kind != kind || (known.is_none() && full) {
            self.dropped += 1;
            return;
        }
        if let Some(known) = known {
            known.merge(sample);
        } else {
            family.series.insert(text, sample);
            self.series += 1;
        }
    }

    /// The text.
    pub fn render(mut self) -> String {
        let dropped = self.dropped;
        self.gauge_u64(
            DROPPED,
            "Series left out of this scrape because there were too many.",
            &[],
            dropped,
        );
        let mut out = String::with_capacity(96 * self.series + 1024);
        for (name, family) in &self.families {
            family.render(name, &mut out);
        }
        out
    }
}

const DROPPED: &str = "portcullis_metrics_dropped_series";

impl Sample {
    fn merge(&mut self, other: Self) {
        match (self, other) {
            (Self::Count(count), Self::Count(more)) => *count = count.wrapping_add(more),
            (Self::Value(value), Self::Value(last)) => *value = last,
            (Self::Buckets(known), Self::Buckets(more)) => {
                known.sum += more.sum;
                for (count, more) in known.counts.iter_mut().zip(more.counts) {
                    *count = count.wrapping_add(more);
                }
            }
            _ => {}
        }
    }
}

impl Family {
    fn render(&self, name: &str, out: &mut String) {
        head(out, name, self.help, self.kind);
        for (labels, sample) in &self.series {
            match sample {
                Sample::Count(value) => line(out, name, "", labels, &value.to_string()),
                Sample::Value(value) => line(out, name, "", labels, &number(*value)),
                Sample::Buckets(value) => buckets(out, name, labels, value),
            }
        }
    }
}

fn head(out: &mut String, name: &str, help: &str, kind: Kind) {
    let help = help.replace('\\', "\\\\").replace('\n', "\\n");
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {}", kind.as_str());
}

fn line(out: &mut String, name: &str, suffix: &str, labels: &str, value: &str) {
    let _ = if labels.is_empty() {
        writeln!(out, "{name}{suffix} {value}")
    } else {
        writeln!(out, "{name}{suffix}{{{labels}}} {value}")
    };
}

fn buckets(out: &mut String, name: &str, labels: &str, value: &Buckets) {
    let comma = if labels.is_empty() { "" } else { "," };
    let bounds = value
        .bounds
        .iter()
        .map(|bound| number(*bound))
        .chain(["+Inf".to_owned()]);
    let mut total: u64 = 0;
    for (bound, count) in bounds.zip(&value.counts) {
        total = total.wrapping_add(*count);
        line(
            out,
            name,
            "_bucket",
            &format!("{labels}{comma}le=\"{bound}\""),
            &total.to_string(),
        );
    }
    line(out, name, "_sum", labels, &number(value.sum));
    line(out, name, "_count", labels, &total.to_string());
}

/// A number as the format writes it.
fn number(value: f64) -> String {
    if value.is_nan() {
        "NaN".to_owned()
    } else if value.is_infinite() {
        if value > 0.0 {
            "+Inf".to_owned()
        } else {
            "-Inf".to_owned()
        }
    } else {
        value.to_string()
    }
}

/// `name="value",...`, sorted by name, values escaped.
fn label_text(labels: &[Label<'_>]) -> String {
    let mut sorted: smallvec::SmallVec<[Label<'_>; 6]> = labels.iter().copied().collect();
    sorted.sort_unstable();
    let mut text = String::with_capacity(32 * sorted.len());
    for (name, value) in sorted {
        if !text.is_empty() {
            text.push(',');
        }
        text.push_str(name);
        text.push_str("=\"");
        for letter in value.chars() {
            match letter {
                '\\' => text.push_str("\\\\"),
                '"' => text.push_str("\\\""),
                '\n' => text.push_str("\\n"),
                other => text.push(other),
            }
        }
        text.push('"');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden() {
        let mut out = Exposition::new();
        out.counter("z_total", "Last.", &[("route", "b"), ("listener", "http")], 2);
        out.counter("z_total", "Last.", &[("listener", "http"), ("route", "a")], 1);
        out.counter("z_total", "Last.", &[("listener", "http"), ("route", "a")], 4);
        out.gauge(
            "a_seconds",
            "First,\nwith \\ and \"quotes\".",
            &[("name", "q\"b\\s\nn")],
            0.25,
        );
        out.gauge_bool("b_active", "Yes or no.", &[], true);
        out.gauge("c", "Odd numbers.", &[("k", "1")], f64::INFINITY);
        out.gauge("c", "Odd numbers.", &[("k", "2")], f64::NAN);
        let counts = Buckets {
            bounds: &[0.005, 1.0],
            counts: vec![1, 2, 3],
            sum: 12.5,
        };
        out.histogram("h_seconds", "Times.", &[("route", "a")], counts.clone());
        out.histogram("h_seconds", "Times.", &[("route", "a")], counts);
        out.declare_counter("y_total", "Nothing yet.");
        let expected = r#"# HELP a_seconds First,\nwith \\ and "quotes".
# TYPE a_seconds gauge
a_seconds{name="q\"b\\s\nn"} 0.25
# HELP b_active Yes or no.
# TYPE b_active gauge
b_active 1
# HELP c Odd numbers.
# TYPE c gauge
c{k="1"} +Inf
c{k="2"} NaN
# HELP h_seconds Times.
# TYPE h_seconds histogram
h_seconds_bucket{route="a",le="0.005"} 2
h_seconds_bucket{route="a",le="1"} 6
h_seconds_bucket{route="a",le="+Inf"} 12
h_seconds_sum{route="a"} 25
h_seconds_count{route="a"} 12
# HELP portcullis_metrics_dropped_series Series left out of this scrape because there were too many.
# TYPE portcullis_metrics_dropped_series gauge
portcullis_metrics_dropped_series 0
# HELP y_total Nothing yet.
# TYPE y_total counter
# HELP z_total Last.
# TYPE z_total counter
z_total{listener="http",route="a"} 5
z_total{listener="http",route="b"} 2
"#;
        assert_eq!(out.render(), expected);
    }

    #[test]
    fn a_family_has_one_kind_and_a_scrape_an_end() {
        let mut out = Exposition::new();
        out.counter("x_total", "X.", &[], 1);
        out.gauge("x_total", "X.", &[("a", "b")], 2.0);
        for n in 0..MOST_SERIES + 9 {
            out.counter("y_total", "Y.", &[("n", &n.to_string())], 1);
        }
        let text = out.render();
        assert!(text.contains("x_total 1\n") && !text.contains("x_total{"));
        assert!(text.contains("portcullis_metrics_dropped_series 11\n"));
    }
}
