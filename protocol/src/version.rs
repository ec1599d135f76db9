//! Version ordinals of RocketMQ (`MQVersion`): each release takes two slots, snapshot then final.

/// 3.1.8 snapshot: the first that answers 307 and 309.
pub const V3_1_8_SNAPSHOT: i32 = 62;
/// From here on clients tell how far they are (221).
pub const V3_0_7_SNAPSHOT: i32 = 28;
/// 3.2.6.
pub const V3_2_6: i32 = 79;
/// 3.4.9: the first whose `maxReconsumeTimes` counts.
pub const V3_4_9: i32 = 121;
/// 4.9.4: the first that reads routes in standard JSON.
pub const V4_9_4: i32 = 401;
/// 5.0.0.
pub const V5_0_0: i32 = 413;
/// 5.3.3: what we say of ourselves.
pub const V5_3_3: i32 = 479;
/// The ordinal that every command of ours carries.
pub const CURRENT: i32 = V5_3_3;

const MINORS: [(i32, i32, i32); 3] = [(3, 0, 0), (4, 0, 213), (5, 0, 413)];

/// Text such as `V5_3_3` or `V4_9_8_SNAPSHOT`. Exact from 4.0.0 on, where every minor version takes
/// ten releases of two slots; earlier ordinals are shown as `V3`.
pub fn name(ordinal: i32) -> String {
    match MINORS
        .iter()
        .rev()
        .find(|(_, _, first)| ordinal >= first - 1)
    {
        Some((major, _, first)) if *major >= 4 => {
            let slot = (ordinal - first + 1) / 2;
            let suffix = if (ordinal - first).rem_euclid(2) == 1 {
                "_SNAPSHOT"
            } else {
                ""
            };
            format!("V{major}_{}_{}{suffix}", slot / 10, slot % 10)
        }
        _ => "V3".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn names_of_the_releases_people_run() {
        for (ordinal, name) in [
            (213, "V4_0_0"),
            (253, "V4_2_0"),
            (317, "V4_5_2"),
            (409, "V4_9_8"),
            (408, "V4_9_8_SNAPSHOT"),
            (413, "V5_0_0"),
            (412, "V5_0_0_SNAPSHOT"),
            (479, "V5_3_3"),
            (493, "V5_4_0"),
        ] {
            assert_eq!(super::name(ordinal), name, "{ordinal}");
        }
    }
}
