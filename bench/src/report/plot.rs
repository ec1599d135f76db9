//! A plot as SVG: lines over two axes. Lines differ in dashes and marks as well as in colour; the page that a plot
//! is part of says what its classes look like.

use std::fmt::Write;

use super::page::escaped;

const WIDTH: f64 = 480.0;
const HEIGHT: f64 = 290.0;
/// Where the axes are.
const LEFT: f64 = 52.0;
const RIGHT: f64 = 462.0;
const TOP: f64 = 52.0;
const BOTTOM: f64 = 244.0;
/// Steps of a linear axis at most.
const STEPS_MAX: f64 = 5.0;

/// How values are laid out along an axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// From zero on.
    Linear,
    /// Each decade as long as the others; no value is zero.
    Log,
}

/// One axis.
#[derive(Debug, Clone, Copy)]
pub struct Axis {
    /// What it shows, with its unit.
    pub label: &'static str,
    /// Its scale.
    pub scale: Scale,
}

/// A line through its points.
#[derive(Debug, Clone)]
pub struct Line {
    /// Its name; shown when there are several.
    pub name: &'static str,
    /// In the order of x.
    pub points: Vec<(f64, f64)>,
}

/// Lines over two axes.
#[derive(Debug, Clone)]
pub struct Plot {
    /// What it shows.
    pub title: String,
    /// From left to right.
    pub x: Axis,
    /// From bottom to top.
    pub y: Axis,
    /// Three at most.
    pub lines: Vec<Line>,
}

impl Plot {
    /// The plot as one `svg` element.
    pub fn svg(&self) -> String {
        let points = || self.lines.iter().flat_map(|line| &line.points);
        let x = Range::of(self.x.scale, points().map(|(x, _)| *x));
        let y = Range::of(self.y.scale, points().map(|(_, y)| *y));
        let place = |(at_x, at_y): (f64, f64)| {
            let across = LEFT + x.share(at_x) * (RIGHT - LEFT);
            (across, BOTTOM - y.share(at_y) * (BOTTOM - TOP))
        };
        let title = escaped(&self.title);
        let mut svg =
            format!("<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{title}\">");
        put_text(&mut svg, "title", (0.0, 16.0), &self.title);
        put_text(&mut svg, "label", (0.0, 36.0), self.y.label);
        put_text(&mut svg, "label end", (RIGHT, HEIGHT - 6.0), self.x.label);
        for tick in y.ticks() {
            let (_, at) = place((x.low, tick));
            put_line(&mut svg, "grid", (LEFT, at), (RIGHT, at));
            put_text(&mut svg, "tick end", (LEFT - 6.0, at + 4.0), &short(tick));
        }
        for tick in x.ticks() {
            let (at, _) = place((tick, y.low));
            put_line(&mut svg, "axis", (at, BOTTOM), (at, BOTTOM + 4.0));
            put_text(&mut svg, "tick middle", (at, BOTTOM + 18.0), &short(tick));
        }
        put_line(&mut svg, "axis", (LEFT, BOTTOM), (RIGHT, BOTTOM));
        for (number, line) in self.lines.iter().enumerate() {
            put_curve(&mut svg, number, line, place);
            if self.lines.len() > 1 {
                put_key(&mut svg, number, line.name);
            }
        }
        svg + "</svg>"
    }
}

/// What an axis reaches over.
struct Range {
    scale: Scale,
    low: f64,
    high: f64,
}

impl Range {
    /// All of these, and to the next tick.
    fn of(scale: Scale, values: impl Iterator<Item = f64> + Clone) -> Range {
        let max = values.clone().fold(f64::MIN_POSITIVE, f64::max);
        match scale {
            Scale::Linear => {
                let step = step(max);
                let high = (max / step).ceil() * step;
                Range {
                    scale,
                    low: 0.0,
                    high,
                }
            }
            Scale::Log => {
                let min = values.fold(max, f64::min).max(f64::MIN_POSITIVE);
                let low = min.log10().floor();
                let high = max.log10().ceil().max(low + 1.0);
                Range {
                    scale,
                    low: 10_f64.powf(low),
                    high: 10_f64.powf(high),
                }
            }
        }
    }

    /// Where a value lies: 0 at the low end, 1 at the high one.
    fn share(&self, value: f64) -> f64 {
        match self.scale {
            Scale::Linear => (value - self.low) / (self.high - self.low),
            Scale::Log => (value / self.low).log10() / (self.high / self.low).log10(),
        }
    }

    fn ticks(&self) -> Vec<f64> {
        match self.scale {
            Scale::Linear => {
                let step = step(self.high);
                let count = (self.high / step).round() as u32;
                (0..=count).map(|tick| f64::from(tick) * step).collect()
            }
            Scale::Log => {
                let decades = (self.high / self.low).log10().round() as i32;
                (0..=decades)
                    .map(|tick| self.low * 10_f64.powi(tick))
                    .collect()
            }
        }
    }
}

/// The smallest of 1, 2 and 5 times a power of ten that reaches `high` in few steps.
fn step(high: f64) -> f64 {
    let least = high / STEPS_MAX;
    let decade = 10_f64.powf(least.log10().floor());
    let steps = [1.0, 2.0, 5.0].map(|times| times * decade);
    let fits = steps.into_iter().find(|step| *step >= least * 0.999);
    fits.unwrap_or(10.0 * decade)
}

/// A number in few characters: 1.5 M, 20 k, 0.25.
pub fn short(value: f64) -> String {
    let (value, unit) = match value.abs() {
        1_000_000.0.. => (value / 1e6, " M"),
        1_000.0.. => (value / 1e3, " k"),
        _ => (value, ""),
    };
    let digits = match value.abs() {
        100.0.. => format!("{value:.0}"),
        1.0.. => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    };
    let digits = match digits.contains('.') {
        true => digits.trim_end_matches('0').trim_end_matches('.'),
        false => &digits,
    };
    format!("{digits}{unit}")
}

fn put_curve(
    svg: &mut String,
    number: usize,
    line: &Line,
    place: impl Fn((f64, f64)) -> (f64, f64),
) {
    let mut points = String::new();
    for point in &line.points {
        let (x, y) = place(*point);
        write!(points, "{x:.1},{y:.1} ").expect("memory takes every write");
    }
    *svg += &format!("<polyline class=\"line n{number}\" points=\"{points}\"/>");
    for point in &line.points {
        let told = format!("{}: {}", short(point.0), short(point.1));
        put_mark(svg, number, place(*point), &told);
    }
}

/// A circle, a square, or a diamond.
fn put_mark(svg: &mut String, number: usize, (x, y): (f64, f64), told: &str) {
    let shape = match number {
        0 => format!("<circle class=\"mark n0\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\">"),
        _ => {
            let turned = if number == 1 { 0 } else { 45 };
            let (left, top) = (x - 3.5, y - 3.5);
            format!(
                "<rect class=\"mark n{number}\" x=\"{left:.1}\" y=\"{top:.1}\" width=\"7\" height=\"7\" transform=\"rotate({turned} {x:.1} {y:.1})\">"
            )
        }
    };
    let end = if number == 0 { "</circle>" } else { "</rect>" };
    *svg += &format!("{shape}<title>{told}</title>{end}");
}

/// Which line is which, at the right of the title's height.
fn put_key(svg: &mut String, number: usize, name: &str) {
    let (x, y) = (LEFT + 150.0 + 110.0 * number as f64, 36.0);
    put_line(
        svg,
        &format!("line n{number}"),
        (x, y - 4.0),
        (x + 24.0, y - 4.0),
    );
    put_mark(svg, number, (x + 12.0, y - 4.0), name);
    put_text(svg, "label", (x + 30.0, y), name);
}

fn put_line(svg: &mut String, class: &str, from: (f64, f64), to: (f64, f64)) {
    *svg += &format!(
        "<line class=\"{class}\" x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\"/>",
        from.0, from.1, to.0, to.1
    );
}

fn put_text(svg: &mut String, class: &str, (x, y): (f64, f64), text: &str) {
    let text = escaped(text);
    *svg += &format!("<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\">{text}</text>");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_reach_over_all_values() {
        let linear = Range::of(Scale::Linear, [3.0, 93_000.0].into_iter());
        assert_eq!(
            linear.ticks(),
            [0.0, 20_000.0, 40_000.0, 60_000.0, 80_000.0, 100_000.0]
        );
        assert!((linear.share(50_000.0) - 0.5).abs() < 1e-9);
        let log = Range::of(Scale::Log, [1.0, 64.0].into_iter());
        assert_eq!(log.ticks(), [1.0, 10.0, 100.0]);
        assert!((log.share(10.0) - 0.5).abs() < 1e-9);
        let one = Range::of(Scale::Log, [1.0].into_iter());
        assert_eq!(one.share(1.0), 0.0);
    }

    #[test]
    fn numbers_are_short() {
        let shown = [0.0, 0.25, 7.0, 12.34, 1_000.0, 20_500.0, 1_500_000.0].map(short);
        assert_eq!(shown, ["0", "0.25", "7", "12.3", "1 k", "20.5 k", "1.5 M"]);
    }

    #[test]
    fn each_point_has_its_mark() {
        let axis = |label, scale| Axis { label, scale };
        let line = |name| Line {
            name,
            points: vec![(1.0, 2.0), (10.0, 3.0)],
        };
        let svg = Plot {
            title: "a < b".to_owned(),
            x: axis("topics", Scale::Log),
            y: axis("messages/s", Scale::Linear),
            lines: vec![line("one"), line("two")],
        }
        .svg();
        assert_eq!(svg.matches("<title>1").count(), 4, "{svg}");
        assert!(svg.contains("a &lt; b") && !svg.contains("NaN"), "{svg}");
    }
}
