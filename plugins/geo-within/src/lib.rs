//! Function for SQL92: `geo_within(lat, lon, 'area')`, whether a point lies in an area.
//!
//! Settings: one for each area, its name and the corners of a polygon, as in
//! `cn-east = 30.5,118.3 32.0,122.2 29.1,122.0`. A line between two corners is straight in degrees;
//! an area does not cross the 180th meridian. An unknown area, or a point that is no point: NULL.

#![forbid(unsafe_code)]

use sluice_plugin::{Binding, Column, Function, Message, Needs, Value, export_function};

/// Latitude and longitude in degrees.
type Point = (f64, f64);

struct GeoWithin {
    lat: Column<f64>,
    lon: Column<f64>,
    area: Column<str>,
    areas: Vec<(String, Vec<Point>)>,
}

impl Function for GeoWithin {
    fn configure(binding: &Binding, arguments: usize, needs: &mut Needs) -> Result<Self, String> {
        needs.pure();
        if arguments != 3 {
            return Err("latitude, longitude and area are expected".into());
        }
        let mut areas = Vec::new();
        for (name, text) in &binding.params {
            let corners = polygon(text).ok_or_else(|| {
                format!(
                    "{name}: three corners or more are expected, as in 30.5,118.3 32,122.2 29,122"
                )
            })?;
            areas.push((name.clone(), corners));
        }
        let (lat, lon) = (needs.argument(0), needs.argument(1));
        Ok(GeoWithin {
            lat,
            lon,
            area: needs.argument(2),
            areas,
        })
    }

    fn call<'a>(&'a mut self, message: &Message<'a>) -> Value<'a> {
        let (Some(lat), Some(lon)) = (message.get(self.lat), message.get(self.lon)) else {
            return Value::Null;
        };
        let Some(name) = message.get(self.area) else {
            return Value::Null;
        };
        let area = self.areas.iter().rev().find(|(known, _)| known == name);
        match area {
            Some((_, corners)) if point((lat, lon)).is_some() => {
                Value::Boolean(contains(corners, (lat, lon)))
            }
            _ => Value::Null,
        }
    }
}

fn point((lat, lon): Point) -> Option<Point> {
    (lat.abs() <= 90.0 && lon.abs() <= 180.0).then_some((lat, lon))
}

fn polygon(text: &str) -> Option<Vec<Point>> {
    let corner = |corner: &str| {
        let (lat, lon) = corner.split_once(',')?;
        point((lat.parse().ok()?, lon.parse().ok()?))
    };
    let corners: Vec<_> = text.split_whitespace().map(corner).collect::<Option<_>>()?;
    (corners.len() >= 3).then_some(corners)
}

/// Whether a line from the point to the east crosses the border an odd number of times.
fn contains(corners: &[Point], (lat, lon): Point) -> bool {
    let mut inside = false;
    let mut before = corners[corners.len() - 1];
    for &corner in corners {
        if (before.0 > lat) != (corner.0 > lat) {
            let share = (lat - before.0) / (corner.0 - before.0);
            if lon < before.1 + share * (corner.1 - before.1) {
                inside = !inside;
            }
        }
        before = corner;
    }
    inside
}

export_function!(GeoWithin);

#[cfg(test)]
mod tests {
    use super::*;
    use sluice_plugin::testing::{self, Sample};

    /// An L, whose corner lacks the north-east.
    const L: &str = "0,0 10,0 10,5 5,5 5,10 0,10";

    fn call(lat: &str, lon: &str, area: &str) -> Sample {
        Sample::new()
            .argument(Some(lat))
            .argument(Some(lon))
            .argument(Some(area))
    }

    #[test]
    fn points_inside_and_outside() {
        let mut plugin = testing::function::<GeoWithin>(&[("l", L)], 3).unwrap();
        let points = [
            ("1", "1"),
            ("9.9", "4.9"),
            ("7", "7"),
            ("-1", "1"),
            ("4", "9"),
            ("4", "11"),
        ];
        let samples = points.map(|(lat, lon)| call(lat, lon, "l"));
        plugin.values(&samples, |values| {
            let expected = [true, true, false, false, true, false].map(Value::Boolean);
            assert_eq!(values, expected);
        });
    }

    #[test]
    fn no_point_and_no_area_are_null() {
        let mut plugin = testing::function::<GeoWithin>(&[("l", L)], 3).unwrap();
        let samples = [
            call("north", "1", "l"),
            call("91", "1", "l"),
            call("NaN", "1", "l"),
            call("1", "1", "m"),
        ];
        plugin.values(&samples, |values| assert_eq!(values, [Value::Null; 4]));
    }

    #[test]
    fn what_is_no_polygon_is_refused() {
        for text in ["", "0,0 1,1", "0,0 1,1 91,0", "0,0 1,1 x"] {
            assert!(
                testing::function::<GeoWithin>(&[("a", text)], 3).is_err(),
                "{text}"
            );
        }
        assert!(testing::function::<GeoWithin>(&[("l", L)], 2).is_err());
    }
}
