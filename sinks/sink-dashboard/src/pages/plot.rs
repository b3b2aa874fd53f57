//! Graphs as SVG, drawn by the server: a line with its 95 % band, gaps as gaps, marks; bars of shares; sparklines. Sizes and
//! colours are the styles' business, so the drawings stretch.

use maud::{Markup, html};
use sink_sqlite::query::{Point, SeriesAnswer};

use super::marks::{Mark, MarkKind};

const WIDTH: f64 = 1200.0;
const HEIGHT: f64 = 300.0;
/// The greatest value stands this much below the top.
const HEADROOM: f64 = 1.15;

/// Where moments and values stand in a drawing.
#[derive(Debug, Clone, Copy)]
struct Scale {
    from_ms: f64,
    length_ms: f64,
    top: f64,
}

impl Scale {
    fn x(&self, at_ms: f64) -> i64 {
        ((at_ms - self.from_ms) / self.length_ms * WIDTH).round() as i64
    }

    fn y(&self, value: f64) -> i64 {
        (HEIGHT - (value / self.top).clamp(0.0, 2.0) * HEIGHT).round() as i64
    }
}

/// The value at the top of a hashrate's drawing. The band may leave the drawing: one share alone reaches to 457 %.
pub(super) fn top_of(answer: &SeriesAnswer) -> f64 {
    let greatest = answer.points.iter().filter_map(|point| point.value).fold(0.0, f64::max);
    let bound = answer.points.iter().filter_map(|point| point.high).fold(0.0, f64::max);
    if greatest > 0.0 { (greatest * HEADROOM * 1.2).min(bound.max(greatest) * HEADROOM) } else { bound.max(1.0) }
}

/// A hashrate: band, line, gaps, marks.
pub(super) fn hashrate(answer: &SeriesAnswer, marks: &[Mark], label: &str) -> Markup {
    let scale = scale(answer, top_of(answer));
    let (mut line, mut band, mut dots) = (String::new(), String::new(), String::new());
    for run in runs(&answer.points) {
        let middle = |point: &Point| scale.x(point.at_ms as f64 + answer.step_ms as f64 / 2.0);
        let mut back = String::new();
        for (index, point) in run.iter().enumerate() {
            let (value, x) = (point.value.unwrap_or_default(), middle(point));
            let word = if index == 0 { 'M' } else { 'L' };
            line.push_str(&format!("{word}{x},{}", scale.y(value)));
            band.push_str(&format!("{word}{x},{}", scale.y(point.high.unwrap_or(value))));
            back.insert_str(0, &format!("L{x},{}", scale.y(point.low.unwrap_or(value))));
        }
        if let [alone] = run {
            // A line without a length is a dot: its ends are round.
            dots.push_str(&format!("M{},{}h0", middle(alone), scale.y(alone.value.unwrap_or_default())));
        }
        band.push_str(&back);
        band.push('Z');
    }
    drawing(
        label,
        html! {
            (gaps(answer, &scale))
            (grid())
            path.band d=(band) {}
            path.line d=(line) {}
            @if !dots.is_empty() { path.dots d=(dots) {} }
            (lines(marks, &scale))
        },
    )
}

/// Accepted and rejected shares of each step, as bars on top of each other.
pub(super) fn shares(answer: &SeriesAnswer, marks: &[Mark], label: &str) -> Markup {
    let scale = scale(answer, top_of_shares(answer));
    let (mut accepted, mut rejected) = (String::new(), String::new());
    for point in &answer.points {
        let (good, bad) = (point.accepted.unwrap_or(0) as f64, point.rejected.unwrap_or(0) as f64);
        let x = scale.x(point.at_ms as f64);
        let width = (scale.x((point.at_ms + answer.step_ms) as f64) - x - 1).max(1);
        let (foot, middle, top) = (scale.y(0.0), scale.y(good), scale.y(good + bad));
        if good > 0.0 {
            accepted.push_str(&format!("M{x},{foot}V{middle}h{width}V{foot}Z"));
        }
        if bad > 0.0 {
            rejected.push_str(&format!("M{x},{middle}V{}h{width}V{middle}Z", top.min(middle - 1)));
        }
    }
    drawing(
        label,
        html! {
            (gaps(answer, &scale))
            (grid())
            path.accepted d=(accepted) {}
            path.rejected d=(rejected) {}
            (lines(marks, &scale))
        },
    )
}

/// The count at the top of the bars.
pub(super) fn top_of_shares(answer: &SeriesAnswer) -> f64 {
    let total = |point: &Point| point.accepted.unwrap_or(0) + point.rejected.unwrap_or(0);
    answer.points.iter().map(total).max().unwrap_or(0).max(1) as f64 * HEADROOM
}

/// A small line without axes; a hole where nothing was observed.
pub(super) fn sparkline(values: &[Option<f64>]) -> Markup {
    const HIGH: f64 = 24.0;
    let top = values.iter().flatten().copied().fold(0.0, f64::max).max(f64::MIN_POSITIVE) * 1.1;
    let mut line = String::new();
    let mut drawing = false;
    for (index, value) in values.iter().enumerate() {
        let Some(value) = value else {
            drawing = false;
            continue;
        };
        let word = if drawing { 'L' } else { 'M' };
        line.push_str(&format!("{word}{},{:.0}", index * 4, HIGH - 1.0 - value / top * (HIGH - 2.0)));
        let alone = !drawing && values.get(index + 1).copied().flatten().is_none();
        if alone {
            line.push_str("h2");
        }
        drawing = true;
    }
    let width = values.len().max(1) * 4;
    html! {
        svg.spark viewBox=(format!("0 0 {width} {HIGH}")) preserveAspectRatio="none" aria-hidden="true" {
            path.line d=(line) {}
        }
    }
}

fn scale(answer: &SeriesAnswer, top: f64) -> Scale {
    Scale { from_ms: answer.from_ms as f64, length_ms: (answer.to_ms - answer.from_ms).max(1) as f64, top }
}

fn drawing(label: &str, content: Markup) -> Markup {
    html! {
        svg viewBox=(format!("0 0 {WIDTH} {HIGH}", HIGH = HEIGHT)) preserveAspectRatio="none" role="img" aria-label=(label) {
            (content)
        }
    }
}

fn grid() -> Markup {
    let lines: String = (1..4).map(|part| format!("M0,{}h{WIDTH}", part * HEIGHT as i64 / 4)).collect();
    html! { path.grid d=(lines) {} }
}

/// Runs of points that have values.
fn runs(points: &[Point]) -> impl Iterator<Item = &[Point]> {
    points.split(|point| point.value.is_none()).filter(|run| !run.is_empty())
}

/// The spans without a value, shaded.
fn gaps(answer: &SeriesAnswer, scale: &Scale) -> Markup {
    let mut shaded = String::new();
    for run in answer.points.chunk_by(|a, b| a.value.is_none() == b.value.is_none()) {
        if let (Some(first), Some(last)) = (run.first(), run.last())
            && first.value.is_none()
        {
            let (from, to) = (scale.x(first.at_ms as f64), scale.x((last.at_ms + answer.step_ms) as f64));
            shaded.push_str(&format!("M{from},0H{to}V{HEIGHT}H{from}Z"));
        }
    }
    html! { path.gap d=(shaded) {} }
}

fn lines(marks: &[Mark], scale: &Scale) -> Markup {
    let path = |wanted: MarkKind| -> String {
        let of_kind = marks.iter().filter(|mark| mark.kind == wanted);
        of_kind.map(|mark| format!("M{},0V{HEIGHT}", scale.x(mark.at_ms as f64))).collect()
    };
    html! {
        @for kind in MarkKind::ALL {
            @let path = path(kind);
            @if !path.is_empty() { path class=(format!("mark is-{}", kind.name())) d=(path) {} }
        }
    }
}

#[cfg(test)]
mod tests {
    use mining_stats::Tier;

    use super::*;

    fn answer(values: &[Option<f64>]) -> SeriesAnswer {
        let point = |(index, value): (usize, &Option<f64>)| Point {
            at_ms: index as u64 * 60_000,
            value: *value,
            low: value.map(|value| value * 0.8),
            high: value.map(|value| value * 1.2),
            min: None,
            max: None,
            observed: f64::from(u8::from(value.is_some())),
            accepted: value.map(|value| value as u64),
            rejected: value.map(|_| 0),
        };
        SeriesAnswer {
            from_ms: 0,
            to_ms: values.len() as u64 * 60_000,
            step_ms: 60_000,
            tier: Tier::OneMinute,
            points: values.iter().enumerate().map(point).collect(),
        }
    }

    #[test]
    fn a_gap_breaks_the_line_and_is_shaded() {
        let drawn =
            hashrate(&answer(&[Some(4.0), Some(4.0), None, None, Some(4.0), Some(2.0)]), &[], "x").into_string();
        let line = drawn.split("class=\"line\" d=\"").nth(1).unwrap().split('"').next().unwrap();
        assert_eq!(line.matches('M').count(), 2, "two lines: {line}");
        assert!(drawn.contains("M400,0H800V300H400Z"), "the gap is shaded: {drawn}");
    }

    #[test]
    fn a_point_alone_is_a_dot() {
        let drawn = hashrate(&answer(&[None, Some(4.0), None, Some(4.0), Some(2.0), None]), &[], "x").into_string();
        let dots = drawn.split("class=\"dots\" d=\"").nth(1).unwrap().split('"').next().unwrap();
        assert!(dots.starts_with("M300,") && dots.ends_with("h0") && dots.matches('M').count() == 1, "{dots}");
        let drawn = hashrate(&answer(&[Some(4.0), Some(2.0)]), &[], "x").into_string();
        assert!(!drawn.contains("dots"), "a line needs none: {drawn}");
    }

    #[test]
    fn an_observed_zero_is_drawn_and_no_gap() {
        let drawn = hashrate(&answer(&[Some(4.0), Some(0.0), Some(4.0)]), &[], "x").into_string();
        assert!(drawn.contains(",300L"), "the line touches the ground: {drawn}");
        assert!(drawn.contains("class=\"gap\" d=\"\""), "{drawn}");
    }

    #[test]
    fn nothing_at_all_is_drawn_without_a_fault() {
        for values in [&[][..], &[None], &[Some(0.0)]] {
            let answer = answer(values);
            let drawn = hashrate(&answer, &[], "x").into_string() + &shares(&answer, &[], "x").into_string();
            assert!(!drawn.contains("NaN") && !drawn.contains("inf"), "{drawn}");
            assert!(!sparkline(values).into_string().contains("NaN"));
        }
    }

    #[test]
    fn a_sparkline_keeps_its_holes() {
        let drawn = sparkline(&[Some(1.0), Some(2.0), None, Some(3.0)]).into_string();
        assert!(drawn.contains("M0,") && drawn.contains("M12,"), "{drawn}");
    }
}
