//! Language of the sender, as every command carries it.

/// `LanguageCode`: the number is the ordinal in binary headers, the name stands in JSON headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(u8)]
#[allow(missing_docs)] // the names are the documentation
pub enum Language {
    Java = 0,
    Cpp = 1,
    Dotnet = 2,
    Python = 3,
    Delphi = 4,
    Erlang = 5,
    Ruby = 6,
    #[default]
    Other = 7,
    Http = 8,
    Go = 9,
    Php = 10,
    Oms = 11,
    Rust = 12,
    NodeJs = 13,
}

const ALL: [(Language, &str); 14] = [
    (Language::Java, "JAVA"),
    (Language::Cpp, "CPP"),
    (Language::Dotnet, "DOTNET"),
    (Language::Python, "PYTHON"),
    (Language::Delphi, "DELPHI"),
    (Language::Erlang, "ERLANG"),
    (Language::Ruby, "RUBY"),
    (Language::Other, "OTHER"),
    (Language::Http, "HTTP"),
    (Language::Go, "GO"),
    (Language::Php, "PHP"),
    (Language::Oms, "OMS"),
    (Language::Rust, "RUST"),
    (Language::NodeJs, "NODE_JS"),
];

impl Language {
    /// The name Java writes.
    pub fn name(self) -> &'static str {
        ALL[self as usize].1
    }

    /// By ordinal; unknown ones are [`Language::Other`], never an error.
    pub fn from_ordinal(ordinal: u8) -> Self {
        ALL.get(usize::from(ordinal))
            .map_or(Language::Other, |(language, _)| *language)
    }

    /// By name in any case, or by ordinal in decimal; unknown ones are [`Language::Other`].
    pub fn from_name(name: &str) -> Self {
        let by_ordinal = || name.parse().map_or(Language::Other, Language::from_ordinal);
        ALL.iter()
            .find(|(_, known)| known.eq_ignore_ascii_case(name))
            .map_or_else(by_ordinal, |(language, _)| *language)
    }
}
