//! Reads OpenMetrics text, and refuses what a scraper would: families that are split, samples of no family, names that do
//! not fit their type, the same series twice, histograms that fall.

use std::collections::{BTreeMap, BTreeSet};

/// A family of metrics.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Family {
    pub(crate) kind: String,
    pub(crate) help: String,
    pub(crate) unit: Option<String>,
    pub(crate) samples: Vec<Sample>,
}

/// A value of a series.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sample {
    pub(crate) name: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) value: f64,
}

impl Sample {
    /// Whether it has these labels, and maybe others.
    pub(crate) fn has(&self, labels: &[(&str, &str)]) -> bool {
        labels.iter().all(|(name, value)| self.labels.get(*name).is_some_and(|own| own == value))
    }
}

/// The families by name, or what is wrong.
pub(crate) fn parse(text: &str) -> Result<BTreeMap<String, Family>, String> {
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let mut current: Option<String> = None;
    let text = text.strip_suffix("# EOF\n").ok_or("does not end with # EOF")?;
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# ") {
            let (word, rest) = rest.split_once(' ').ok_or_else(|| format!("{line:?}: no word"))?;
            let (name, rest) = rest.split_once(' ').ok_or_else(|| format!("{line:?}: no text"))?;
            if current.as_deref() != Some(name) {
                if families.insert(name.to_owned(), Family::default()).is_some() {
                    return Err(format!("family {name} is split"));
                }
                current = Some(name.to_owned());
            }
            let family = families.entry(name.to_owned()).or_default();
            match word {
                "HELP" => rest.clone_into(&mut family.help),
                "TYPE" => rest.clone_into(&mut family.kind),
                "UNIT" if name.ends_with(&format!("_{rest}")) => family.unit = Some(rest.to_owned()),
                _ => return Err(format!("{line:?}: no such line")),
            }
            continue;
        }
        let sample = sample(line)?;
        let name = current.as_deref().ok_or_else(|| format!("{line:?}: of no family"))?;
        let family = families.entry(name.to_owned()).or_default();
        let suffixes: &[&str] = match family.kind.as_str() {
            "counter" => &["_total"],
            "gauge" => &[""],
            "info" => &["_info"],
            "histogram" => &["_sum", "_count", "_bucket"],
            other => return Err(format!("{name}: type {other:?}")),
        };
        if !suffixes.iter().any(|suffix| sample.name == format!("{name}{suffix}")) {
            return Err(format!("{line:?}: not a {} {name}", family.kind));
        }
        if family.kind != "gauge" && (sample.value.is_nan() || sample.value < 0.0) {
            return Err(format!("{line:?}: below 0"));
        }
        family.samples.push(sample);
    }
    families.iter().try_for_each(|(name, family)| check(name, family))?;
    Ok(families)
}

fn check(name: &str, family: &Family) -> Result<(), String> {
    if family.help.is_empty() || family.kind.is_empty() {
        return Err(format!("{name}: without HELP or TYPE"));
    }
    let mut seen = BTreeSet::new();
    if let Some(twice) = family.samples.iter().find(|sample| !seen.insert((&sample.name, &sample.labels))) {
        return Err(format!("{twice:?} is there twice"));
    }
    let buckets: Vec<f64> =
        family.samples.iter().filter(|it| it.name.ends_with("_bucket")).map(|it| it.value).collect();
    if family.kind == "histogram" && (buckets.is_empty() || !buckets.is_sorted()) {
        return Err(format!("{name}: {buckets:?}"));
    }
    Ok(())
}

fn sample(line: &str) -> Result<Sample, String> {
    let wrong = |what: &str| format!("{line:?}: {what}");
    let (name, rest) = line.split_at(line.find(['{', ' ']).ok_or_else(|| wrong("no value"))?);
    let is_letter = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    if name.is_empty() || !name.chars().all(is_letter) {
        return Err(wrong("no name"));
    }
    let (labels, value) = match rest.strip_prefix('{') {
        Some(rest) => labels(rest).ok_or_else(|| wrong("labels"))?,
        None => (BTreeMap::new(), rest),
    };
    let value = value.strip_prefix(' ').and_then(|value| value.parse().ok()).ok_or_else(|| wrong("no number"))?;
    Ok(Sample { name: name.to_owned(), labels, value })
}

/// What stands in braces, and the rest behind them.
fn labels(mut rest: &str) -> Option<(BTreeMap<String, String>, &str)> {
    let mut labels = BTreeMap::new();
    while !rest.starts_with('}') {
        let (name, text) = rest.split_once("=\"")?;
        let mut value = String::new();
        let mut letters = text.char_indices();
        let end = loop {
            match letters.next()? {
                (at, '"') => break at,
                (_, '\\') => value.push(match letters.next()?.1 {
                    'n' => '\n',
                    letter @ ('\\' | '"') => letter,
                    _ => return None,
                }),
                (_, letter) => value.push(letter),
            }
        };
        labels.insert(name.to_owned(), value).is_none().then_some(())?;
        rest = text.get(end + 1..)?;
        rest = rest.strip_prefix(',').unwrap_or(rest);
    }
    Some((labels, rest.get(1..)?))
}
