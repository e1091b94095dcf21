//! In which of the formats that scrapers read a page is written. Pure.

/// One of Prometheus' exposition formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Prometheus' own text: what a person with curl gets, and programs that say nothing.
    Text,
    OpenMetrics,
    /// The only one with native histograms.
    Protobuf,
}

const MESSAGE: &str = "io.prometheus.client.MetricFamily";
const OPEN_METRICS_VERSIONS: [&str; 2] = ["1.0.0", "0.0.1"];

impl Format {
    pub fn content_type(self) -> &'static str {
        match self {
            Format::Text => "text/plain; version=0.0.4; charset=utf-8",
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Format::Protobuf => {
                "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
            }
        }
    }

    /// What a scraper likes best of what there is; text where it likes nothing of it.
    pub fn accepted(accept: &str) -> Format {
        let ranges = accept.split(',').filter_map(range);
        // The first of those liked equally well.
        let best = ranges.rev().max_by(|one, other| one.1.total_cmp(&other.1));
        best.filter(|(_, quality)| *quality > 0.0).map_or(Format::Text, |(format, _)| format)
    }
}

/// A media range that one of the formats suits, and how well it is liked.
fn range(text: &str) -> Option<(Format, f64)> {
    let mut parts = text.split(';').map(str::trim);
    let media = parts.next()?.to_ascii_lowercase();
    let parameters: Vec<_> = parts.filter_map(|part| part.split_once('=')).collect();
    let value = |name: &str| {
        let of = |&&(key, _): &&(&str, &str)| key.trim().eq_ignore_ascii_case(name);
        parameters.iter().find(of).map(|(_, value)| value.trim().trim_matches('"'))
    };
    let format = match &*media {
        "*/*" | "text/*" | "text/plain" => Format::Text,
        "application/openmetrics-text" => match value("version") {
            Some(version) if !OPEN_METRICS_VERSIONS.contains(&version) => return None,
            _ => Format::OpenMetrics,
        },
        "application/vnd.google.protobuf" => (value("proto") == Some(MESSAGE)
            && value("encoding") == Some("delimited"))
        .then_some(Format::Protobuf)?,
        _ => return None,
    };
    let quality = value("q").map_or(Some(1.0), |quality| quality.parse().ok())?;
    Some((format, quality))
}

/// OpenMetrics as Prometheus' text: there a family bears its samples' name, and nothing marks the end. Triton's
/// counters, which lack OpenMetrics' ending, are said to be counters here as Triton says.
pub(super) fn prometheus_text(open_metrics: &str, is_counter: impl Fn(&str) -> bool) -> String {
    let mut text = String::with_capacity(open_metrics.len());
    let mut help = None;
    for line in open_metrics.lines() {
        if let Some(described) = line.strip_prefix("# HELP ") {
            help = described.split_once(' ').map(|(_, help)| help);
        } else if let Some((name, kind)) = kind(line) {
            let (ending, kind) = match kind {
                "counter" => ("_total", "counter"),
                "info" => ("_info", "gauge"),
                "gauge" if is_counter(name) => ("", "counter"),
                "unknown" => ("", "untyped"),
                kind => ("", kind),
            };
            if let Some(help) = help.take() {
                text.extend(["# HELP ", name, ending, " ", help, "\n"]);
            }
            text.extend(["# TYPE ", name, ending, " ", kind, "\n"]);
        } else if !line.starts_with('#') {
            text.extend([line, "\n"]);
        }
    }
    text
}

fn kind(line: &str) -> Option<(&str, &str)> {
    line.strip_prefix("# TYPE ")?.split_once(' ')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scrapers_get_what_they_like_best() {
        let old = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
            text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        assert_eq!(Format::accepted(old), Format::OpenMetrics);
        let native = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited,\
            application/openmetrics-text;version=1.0.0;q=0.8,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        assert_eq!(Format::accepted(native), Format::Protobuf);
        assert_eq!(Format::accepted(""), Format::Text);
        assert_eq!(Format::accepted("*/*"), Format::Text);
        assert_eq!(Format::accepted("text/html, text/plain;q=0.9"), Format::Text);
    }

    #[test]
    fn what_there_is_not_is_passed_over() {
        assert_eq!(Format::accepted("application/vnd.google.protobuf;proto=other"), Format::Text);
        assert_eq!(
            Format::accepted("application/openmetrics-text;version=9.0.0, text/plain;q=0.1"),
            Format::Text
        );
        assert_eq!(Format::accepted("application/openmetrics-text;q=0"), Format::Text);
    }

    #[test]
    fn prometheus_text_names_families_after_their_samples() {
        let page = "# HELP foil_a How many.\n# TYPE foil_a counter\nfoil_a_total{x=\"# TYPE y\"} 1\n\
            # HELP foil_build Which.\n# TYPE foil_build info\nfoil_build_info{version=\"1\"} 1\n\
            # HELP nv_a Its.\n# TYPE nv_a gauge\nnv_a 2\n# EOF\n";
        let text = prometheus_text(page, |name| name == "nv_a");
        assert_eq!(
            text,
            "# HELP foil_a_total How many.\n# TYPE foil_a_total counter\nfoil_a_total{x=\"# TYPE y\"} 1\n\
             # HELP foil_build_info Which.\n# TYPE foil_build_info gauge\nfoil_build_info{version=\"1\"} 1\n\
             # HELP nv_a Its.\n# TYPE nv_a counter\nnv_a 2\n"
        );
    }
}
