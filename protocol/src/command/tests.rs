use super::*;

fn hex(text: &str) -> Bytes {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

fn framed(form: u8, header: &[u8]) -> Bytes {
    let mut out = BytesMut::new();
    out.put_u32(4 + header.len() as u32);
    out.put_u32(u32::from(form) << 24 | header.len() as u32);
    out.put_slice(header);
    out.freeze()
}

fn route_request(serialization: Serialization) -> RemotingCommand {
    let ext = [("topic", "t")].into_iter().collect();
    RemotingCommand {
        language: Language::Java,
        ext,
        serialization,
        ..RemotingCommand::request(105, 1)
    }
}

/// Bytes produced by the classes of RocketMQ 5.3.3.
#[test]
fn both_forms_are_byte_for_byte_javas() {
    let binary = hex(
        "00000025 01000021 0069 00 01df 00000001 00000000 00000000 0000000c 0005 746f706963 00000001 74",
    );
    assert_eq!(route_request(Serialization::RocketMq).encode(), binary);
    assert_eq!(
        RemotingCommand::decode(&binary).unwrap(),
        route_request(Serialization::RocketMq)
    );

    let text = r#"{"code":105,"extFields":{"topic":"t"},"flag":0,"language":"JAVA","opaque":1,"serializeTypeCurrentRPC":"JSON","version":479}"#;
    let json = framed(0, text.as_bytes());
    assert_eq!(route_request(Serialization::Json).encode(), json);
    assert_eq!(
        RemotingCommand::decode(&json).unwrap(),
        route_request(Serialization::Json)
    );
}

#[test]
fn json_of_every_client_is_read() {
    let text = "{\"code\":\"310\",\"language\":\"elvish\",\"version\":333,\"opaque\":-7,\"flag\":0,\"remark\":\"SEND\\n\",\"foo\":{\"a\":[1]},\
        \"extFields\":{\"d\":4,\"m\":false,\"l\":null,\"x\":1.5,\"b\":\"\\u4e2d\",\"Signature\":\"\"}}\n";
    let command = RemotingCommand::decode(&framed(0, text.as_bytes())).unwrap();
    assert_eq!(
        (command.code, command.opaque, command.language),
        (310, -7, Language::Other)
    );
    assert_eq!(command.remark(), "SEND\n");
    let get = |name| command.ext.get(name);
    assert_eq!(
        [
            get("d"),
            get("m"),
            get("l"),
            get("x"),
            get("b"),
            get("Signature")
        ],
        [
            Some("4"),
            Some("false"),
            None,
            Some("1.5"),
            Some("中"),
            Some("")
        ]
    );
    for ext in ["null", "{}"] {
        let text = format!("{{\"code\":34,\"extFields\":{ext}}}");
        assert!(
            RemotingCommand::decode(&framed(0, text.as_bytes()))
                .unwrap()
                .ext
                .is_empty()
        );
    }
}

#[test]
fn numbers_of_a_few_bytes_stay_short() {
    let text = br#"{"extFields":{"a":1e308,"b":1e-308,"c":1.5e20,"d":0.25,"e":-2e300}}"#;
    let command = RemotingCommand::decode(&framed(0, text)).unwrap();
    let values: Vec<&str> = command.ext.iter().map(|(_, value)| value).collect();
    assert_eq!(
        values,
        ["1e308", "1e-308", "150000000000000000000", "0.25", "-2e300"]
    );
}

#[test]
fn a_header_beyond_the_limit_is_refused_in_both_directions() {
    let mut command = RemotingCommand::request(10, 1);
    command
        .ext
        .put("x", "y".repeat(crate::frame::HEADER_SIZE_MAX));
    let mut out = BytesMut::from(&b"before"[..]);
    for form in [Serialization::Json, Serialization::RocketMq] {
        command.serialization = form;
        let refused = command.encode_head(0, &mut out);
        assert!(matches!(refused, Err(FrameError::HeaderTooLarge { .. })));
        assert_eq!(out, "before");
    }
    let large = vec![b' '; crate::frame::HEADER_SIZE_MAX + 1];
    assert!(matches!(
        RemotingCommand::decode(&framed(0, &large)),
        Err(FrameError::HeaderTooLarge { .. })
    ));
}

#[test]
fn the_last_of_equal_keys_wins() {
    let command =
        RemotingCommand::decode(&framed(0, br#"{"extFields":{"a":"1","a":"2"}}"#)).unwrap();
    assert_eq!(command.ext.get("a"), Some("2"));
}

#[test]
fn what_is_wrong_is_said() {
    for (frame, expected) in [
        (framed(0, b"{"), "EOF"),
        (framed(0, b"[]"), "command header object"),
        (framed(0, b"{\"code\":1e99}"), "field code"),
        (framed(0, b"{\"extFields\":{\"a\":{}}}"), "text, number"),
        (framed(2, b"{}"), "unknown header form 2"),
        (framed(1, b"abc"), "at least 21"),
        (hex("00000004 00000001"), "exceeds the 0 bytes"),
        (
            hex("00000019 01000015 0069 00 01df 00000001 00000000 7fffffff 00000000"),
            "remark length 2147483647",
        ),
        (
            hex("0000001a 01000016 0069 00 01df 00000001 00000000 00000000 00000001 00"),
            "length of ext key",
        ),
    ] {
        let error = RemotingCommand::decode(&frame).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn frames_are_split_where_they_end_and_refused_before_room_is_made() {
    let one = route_request(Serialization::Json).encode();
    let mut buffer = BytesMut::from(&[&one[..], &one[..7]].concat()[..]);
    assert_eq!(
        crate::frame::split(&mut buffer, 1024).unwrap(),
        Some(one.clone())
    );
    assert_eq!(crate::frame::split(&mut buffer, 1024).unwrap(), None);
    assert!(crate::frame::split(&mut BytesMut::from(&[0x7F, 0xFF, 0xFF, 0xFF][..]), 1024).is_err());
    assert!(crate::frame::split(&mut BytesMut::from(&[0xFF; 4][..]), 1024).is_err());
}
