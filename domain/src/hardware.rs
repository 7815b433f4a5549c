//! Hardware and setups: what one can buy, with sourced facts and dated prices.
//!
//! One TOML file each under `hardware-profiles/`. A *hardware* is a part or a whole machine; a
//! *setup* is a buyable bundle of them, and only a setup has a price that a budget can meet.

use serde::{Deserialize, Serialize};
use thiserror::Error;
use utoipa::ToSchema;

use crate::ids::Slug;
use crate::record::Split;
use crate::text::Name;

/// One profile file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "profile", rename_all = "lowercase")]
pub enum Profile {
    /// A part or machine.
    Hardware(Box<HardwareProfile>),
    /// A buyable bundle.
    Setup(SetupProfile),
}

/// Facts of one part or machine. What was not found is left out, never guessed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HardwareProfile {
    /// Its name in URLs.
    pub slug: Slug,
    /// Its name.
    pub name: Name,
    /// Maker.
    pub vendor: Name,
    /// Card, chip, or whole machine.
    pub kind: HardwareKind,
    /// Memory as sold.
    pub memory_gb: Option<f64>,
    /// One memory for CPU and GPU.
    pub unified: Option<bool>,
    /// The maker's peak, decimal gigabytes per second.
    pub memory_bandwidth_gb_s: Option<f64>,
    /// Peak without sparsity.
    pub fp16_dense_tflops: Option<f64>,
    /// Which unit and accumulation that peak is of.
    pub fp16_basis: Option<String>,
    /// Rated power of card or chip.
    pub tdp_w: Option<f64>,
    /// Whole machine at the wall, at most.
    pub max_wall_w: Option<f64>,
    /// Whole machine at the wall, idle.
    pub idle_w: Option<f64>,
    /// How the wall figures were measured.
    pub power_basis: Option<String>,
    /// Month of first sale, `YYYY-MM`.
    pub release_date: Option<String>,
    /// Where the facts come from.
    pub sources: Vec<String>,
    /// `high`: two independent sources agree; `medium`: one good source.
    pub confidence: Confidence,
    /// How a runner recognises it; absent when it cannot be told from its neighbours.
    pub recognise: Option<Recognise>,
}

/// A buyable bundle.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetupProfile {
    /// Its name in URLs.
    pub slug: Slug,
    /// Its name.
    pub name: Name,
    /// What it is made of.
    pub parts: Vec<Part>,
    /// How several hosts are connected.
    pub interconnect: Option<Name>,
    /// How they share one model's work.
    pub split: Option<Split>,
    /// What it costs, each with date, kind and source; the newest counts.
    #[serde(default)]
    pub prices: Vec<Price>,
}

/// So many of one hardware.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// Which.
    pub hardware: Slug,
    /// How many.
    pub count: u32,
}

/// Card, chip, or whole machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum HardwareKind {
    /// A graphics card.
    Gpu,
    /// A processor.
    Cpu,
    /// A whole machine or board around one chip.
    Soc,
}

/// How well the facts are known. Facts of low confidence are not in the profiles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Confidence {
    /// Two independent sources or a vendor document agree.
    High,
    /// One good source, or partly derived.
    Medium,
}

/// How a runner recognises a machine: every given fact must fit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recognise {
    /// Text that the processor or the GPU names itself by (whole, case-insensitive).
    pub chip: String,
    /// Text that the machine names itself by (`hw.model` on macOS, the DMI product or the
    /// device tree's model on Linux; whole, case-insensitive), when its chip is sold in others.
    pub machine: Option<String>,
    /// Memory as sold, when the chip was sold with several sizes.
    pub memory_gb: Option<f64>,
}

/// A dated, sourced price.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Price {
    /// US dollars without tax.
    pub usd: f64,
    /// `YYYY-MM` or `YYYY-MM-DD`. An undated price is refused.
    pub date: String,
    /// What kind of price.
    pub kind: PriceKind,
    /// What exactly it buys, or how it was rounded.
    pub note: Option<String>,
    /// Where it was read.
    pub source: String,
}

/// What kind of price.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PriceKind {
    /// The maker's price at launch: not what it costs today.
    Launch,
    /// The maker's list price at the date.
    List,
    /// Asked by shops at the date.
    Street,
    /// Entered by the reader.
    Reader,
}

impl PriceKind {
    /// As a reader reads it.
    pub fn in_words(self) -> &'static str {
        match self {
            Self::Launch => "launch price",
            Self::List => "list price",
            Self::Street => "street price",
            Self::Reader => "your price",
        }
    }
}

/// Why a profile file was refused.
#[derive(Debug, Error)]
pub enum ProfileError {
    /// Not TOML, or not a profile. The text names line and key.
    #[error("read the profile {file}: {message}")]
    Parse {
        /// The file.
        file: String,
        /// What the parser says, with line and key.
        message: String,
    },
    /// A rule that one file or the set breaks.
    #[error("accept the profile {file}: {what}")]
    Rule {
        /// The file.
        file: String,
        /// Which rule, and what to do.
        what: String,
    },
}

impl SetupProfile {
    /// The newest price.
    pub fn price(&self) -> Option<&Price> {
        self.prices.iter().max_by(|a, b| a.date.cmp(&b.date))
    }
}

/// All profiles, checked together.
#[derive(Debug, Clone, Default)]
pub struct Catalogue {
    hardware: Vec<HardwareProfile>,
    setups: Vec<SetupProfile>,
}

impl Catalogue {
    /// Parses `(file name, text)` pairs and checks them as a set: slugs unique per kind,
    /// parts known, prices dated and positive.
    pub fn parse<'a>(
        files: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, ProfileError> {
        let mut catalogue = Self::default();
        let mut origins = Vec::new();
        for (file, text) in files {
            let profile = toml::from_str(text).map_err(|e| ProfileError::Parse {
                file: file.to_owned(),
                message: e.to_string(),
            })?;
            match profile {
                Profile::Hardware(hardware) => {
                    if catalogue.hardware(&hardware.slug).is_some() {
                        return Err(rule(
                            file,
                            format!("hardware {} is there already", hardware.slug),
                        ));
                    }
                    catalogue.hardware.push(*hardware);
                }
                Profile::Setup(setup) => {
                    if catalogue.setup(&setup.slug).is_some() {
                        return Err(rule(file, format!("setup {} is there already", setup.slug)));
                    }
                    origins.push(file);
                    catalogue.setups.push(setup);
                }
            }
        }
        for (setup, file) in catalogue.setups.iter().zip(origins) {
            catalogue
                .check_setup(setup)
                .map_err(|what| rule(file, what))?;
        }
        catalogue.hardware.sort_by(|a, b| a.slug.cmp(&b.slug));
        catalogue.setups.sort_by(|a, b| a.slug.cmp(&b.slug));
        Ok(catalogue)
    }

    fn check_setup(&self, setup: &SetupProfile) -> Result<(), String> {
        for part in &setup.parts {
            if self.hardware(&part.hardware).is_none() {
                return Err(format!(
                    "part {} has no hardware profile: add one, or correct the slug",
                    part.hardware
                ));
            }
        }
        for price in &setup.prices {
            if !(price.usd.is_finite() && price.usd > 0.0) {
                return Err(format!("a price of {} USD is no price", price.usd));
            }
            if !is_date(&price.date) {
                return Err(format!(
                    "price date {:?} is not YYYY-MM or YYYY-MM-DD",
                    price.date
                ));
            }
        }
        Ok(())
    }

    /// Every hardware, by slug.
    pub fn all_hardware(&self) -> &[HardwareProfile] {
        &self.hardware
    }

    /// Every setup, by slug.
    pub fn all_setups(&self) -> &[SetupProfile] {
        &self.setups
    }

    /// One hardware.
    pub fn hardware(&self, slug: &Slug) -> Option<&HardwareProfile> {
        self.hardware.iter().find(|h| h.slug == *slug)
    }

    /// One setup.
    pub fn setup(&self, slug: &Slug) -> Option<&SetupProfile> {
        self.setups.iter().find(|s| s.slug == *slug)
    }
}

fn rule(file: &str, what: String) -> ProfileError {
    ProfileError::Rule {
        file: file.to_owned(),
        what,
    }
}

fn is_date(text: &str) -> bool {
    let parts: Vec<_> = text.split('-').collect();
    let number = |part: &str, len: usize| {
        (part.len() == len && part.bytes().all(|b| b.is_ascii_digit()))
            .then(|| part.parse::<u32>().ok())
            .flatten()
    };
    let (year, month, day) = match parts.as_slice() {
        [y, m] => (number(y, 4), number(m, 2), Some(1)),
        [y, m, d] => (number(y, 4), number(m, 2), number(d, 2)),
        _ => return false,
    };
    year.is_some()
        && month.is_some_and(|m| (1..=12).contains(&m))
        && day.is_some_and(|d| (1..=31).contains(&d))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINI: &str = r#"
        profile = "hardware"
        slug = "mini"
        name = "Mini"
        vendor = "Maker"
        kind = "soc"
        sources = ["https://example.com"]
        confidence = "high"
    "#;

    fn setup(extra: &str) -> String {
        format!(
            "profile = \"setup\"\nslug = \"mini\"\nname = \"Mini\"\n{extra}\n[[parts]]\nhardware = \"mini\"\ncount = 1\n"
        )
    }

    #[test]
    fn every_shipped_profile_is_accepted() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../hardware-profiles");
        let mut files = Vec::new();
        for entry in std::fs::read_dir(folder).expect("the profiles lie beside the workspace") {
            let path = entry.expect("readable folder").path();
            if path
                .extension()
                .is_some_and(|extension| extension == "toml")
            {
                let name = path
                    .file_name()
                    .expect("a file")
                    .to_string_lossy()
                    .into_owned();
                files.push((
                    name,
                    std::fs::read_to_string(&path).expect("readable profile"),
                ));
            }
        }
        let catalogue = Catalogue::parse(
            files
                .iter()
                .map(|(name, text)| (name.as_str(), text.as_str())),
        )
        .unwrap_or_else(|error| panic!("{error}"));
        assert!(catalogue.all_hardware().len() >= 50, "the folder was found");
        for setup in catalogue.all_setups() {
            let file = format!("setup-{}.toml", setup.slug);
            assert!(
                files.iter().any(|(name, _)| *name == file),
                "{file} holds the setup of its name"
            );
        }
    }

    #[test]
    fn the_newest_price_counts() {
        let text = setup("")
            + "[[prices]]\nusd = 600\ndate = \"2024-11\"\nkind = \"launch\"\nsource = \"a\"\n\
               [[prices]]\nusd = 700\ndate = \"2026-08\"\nkind = \"street\"\nsource = \"b\"\n";
        let catalogue = Catalogue::parse([("mini.toml", MINI), ("s.toml", &text)]).expect("valid");
        let price = catalogue.all_setups()[0].price().expect("has one");
        assert_eq!(
            (price.kind, price.date.as_str()),
            (PriceKind::Street, "2026-08")
        );
    }

    #[test]
    fn a_misspelled_key_is_refused_with_file_and_line() {
        let text = MINI.replace("vendor", "vender");
        let error = Catalogue::parse([("mini.toml", text.as_str())]).expect_err("misspelled");
        let message = error.to_string();
        assert!(message.contains("mini.toml"), "{message}");
    }

    #[test]
    fn a_setup_of_unknown_parts_or_an_undated_price_is_refused() {
        assert!(Catalogue::parse([("s.toml", setup("").as_str())]).is_err());
        let undated = setup("")
            + "[[prices]]\nusd = 600\ndate = \"soon\"\nkind = \"launch\"\nsource = \"a\"\n";
        assert!(Catalogue::parse([("mini.toml", MINI), ("s.toml", undated.as_str())]).is_err());
    }
}
