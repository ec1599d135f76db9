//! Bars as SVG, one below the other, with a mark at a value to compare with.

use super::page::escaped;
use super::plot::short;

const WIDTH: f64 = 480.0;
/// Where bars begin, and the longest ends.
const LEFT: f64 = 200.0;
const RIGHT: f64 = 420.0;
const TOP: f64 = 46.0;
/// From one bar to the next.
const STEP: f64 = 26.0;
const THICK: f64 = 16.0;

/// Named values.
#[derive(Debug, Clone)]
pub struct Bars {
    /// What they show, with its unit.
    pub title: String,
    /// In their order.
    pub bars: Vec<(String, f64)>,
    /// What they are compared with.
    pub beside: Option<(&'static str, f64)>,
}

impl Bars {
    /// The bars as one `svg` element.
    pub fn svg(&self) -> String {
        let values = self.bars.iter().map(|(_, value)| *value);
        let beside = self.beside.map(|(_, value)| value);
        let max = values.chain(beside).fold(f64::MIN_POSITIVE, f64::max);
        let end = |value: f64| LEFT + value / max * (RIGHT - LEFT);
        let bottom = TOP + STEP * self.bars.len() as f64;
        let title = escaped(&self.title);
        let mut svg = format!(
            "<svg viewBox=\"0 0 {WIDTH} {}\" role=\"img\" aria-label=\"{title}\">\
             <text class=\"title\" x=\"0\" y=\"16\">{title}</text>",
            bottom + 24.0
        );
        for (row, (name, value)) in self.bars.iter().enumerate() {
            let top = TOP + STEP * row as f64;
            let (middle, name) = (top + THICK - 4.0, escaped(name));
            svg += &format!(
                "<text class=\"tick end\" x=\"{:.1}\" y=\"{middle:.1}\">{name}</text>\
                 <rect class=\"bar\" x=\"{LEFT}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{THICK}\"/>\
                 <text class=\"tick\" x=\"{:.1}\" y=\"{middle:.1}\">{}</text>",
                LEFT - 8.0,
                end(*value) - LEFT,
                end(*value) + 6.0,
                short(*value)
            );
        }
        if let Some((name, value)) = self.beside {
            let at = end(value);
            svg += &format!(
                "<line class=\"beside\" x1=\"{at:.1}\" y1=\"{:.1}\" x2=\"{at:.1}\" y2=\"{bottom:.1}\"/>\
                 <text class=\"label end\" x=\"{at:.1}\" y=\"{:.1}\">{}</text>",
                TOP - 6.0,
                bottom + 14.0,
                escaped(name)
            );
        }
        svg + "</svg>"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_bar_ends_at_the_right() {
        let svg = Bars {
            title: "rate".to_owned(),
            bars: vec![("one".to_owned(), 50.0), ("two".to_owned(), 100.0)],
            beside: Some(("claim", 75.0)),
        }
        .svg();
        assert!(
            svg.contains("width=\"110.0\"") && svg.contains("width=\"220.0\""),
            "{svg}"
        );
        assert!(svg.contains("x1=\"365.0\""), "{svg}");
    }
}
