//! Versions as programs and the kernel print them, as far as we compare them: major and minor.

use std::fmt;

/// The first two numbers of a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version {
    /// The first number.
    pub(crate) major: u32,
    /// The second number.
    pub(crate) minor: u32,
}

impl Version {
    /// `major.minor`.
    pub(crate) const fn new(major: u32, minor: u32) -> Self {
        Self { major, minor }
    }

    /// Reads `6.18.44-cloud`, `1.97.0-nightly` or `22.1`; `None` when it does not start with two numbers.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (major, rest) = text.trim().split_once('.')?;
        let minor = rest.split(|c: char| !c.is_ascii_digit()).next()?;
        Some(Self { major: major.parse().ok()?, minor: minor.parse().ok()? })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

#[cfg(test)]
mod tests {
    use super::Version;

    #[test]
    fn reads_what_kernels_and_compilers_print() {
        let cases = [
            ("6.18.44-cloud-amd64\n", Some(Version::new(6, 18))),
            ("6.1.0-37-amd64", Some(Version::new(6, 1))),
            ("6.6-rc1", Some(Version::new(6, 6))),
            ("1.97.0-nightly", Some(Version::new(1, 97))),
            ("22.1.8", Some(Version::new(22, 1))),
            ("22", None),
            ("", None),
            ("x.y", None),
        ];
        for (text, expected) in cases {
            assert_eq!(Version::parse(text), expected, "{text:?}");
        }
    }

    #[test]
    fn compares_numbers_not_text() {
        assert!(Version::new(6, 18) > Version::new(6, 6));
        assert!(Version::new(1, 100) > Version::new(1, 95));
    }
}
