//! `[bridges.NAME]`: sources inside the process that feed the journal from programs that do not publish.

use sri_bridge::SriBridgeSettings;

use super::problem::{Problem, Problems};
use super::sinks::type_of;
use super::table::Section;

/// One bridge.
#[derive(Debug)]
pub(crate) struct BridgeConfig {
    pub(crate) name: String,
    pub(crate) settings: SriBridgeSettings,
}

/// A bridge with its place in the file.
#[derive(Debug)]
pub(crate) struct PlacedBridge<'i> {
    pub(crate) config: BridgeConfig,
    pub(crate) section: Section<'i>,
}

pub(crate) fn read<'i>(sections: Vec<(String, Section<'i>)>, problems: &mut Problems) -> Vec<PlacedBridge<'i>> {
    let one = |(name, section): (String, Section<'i>)| {
        let mut own = section.clone();
        type_of(&mut own, [sri_bridge::TYPE].into_iter(), problems)?;
        let settings = own.read_with(&["type"], problems, serde::Deserialize::deserialize)?;
        Some(PlacedBridge { config: BridgeConfig { name, settings }, section })
    };
    let bridges: Vec<PlacedBridge<'i>> = sections.into_iter().filter_map(one).collect();
    check_pairs(&bridges, problems);
    bridges
}

/// Two bridges to one program would count its shares twice; two under one name would fight for it.
fn check_pairs(bridges: &[PlacedBridge<'_>], problems: &mut Problems) {
    let publisher = |bridge: &PlacedBridge<'_>| {
        bridge.config.settings.publisher.clone().unwrap_or_else(|| bridge.config.name.clone())
    };
    for (index, second) in bridges.iter().enumerate() {
        for first in &bridges[..index] {
            let url = &second.config.settings.url;
            if first.config.settings.url == *url {
                problems.push(
                    Problem::error(second.section.value_span("url"), format!("two bridges read {url}"))
                        .related(first.section.value_span("url"), "the other one")
                        .help("its shares would be counted twice: keep one of them"),
                );
            }
            if publisher(first) == publisher(second) {
                problems.push(
                    Problem::error(
                        second.section.value_span("publisher"),
                        format!("two bridges publish as `{}`", publisher(second)),
                    )
                    .related(first.section.value_span("publisher"), "the other one")
                    .help("give each a `publisher` of its own"),
                );
            }
        }
    }
}
