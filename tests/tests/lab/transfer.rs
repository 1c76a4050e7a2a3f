//! Much data through the tunnel, in packets as large as they get.

use anyhow::Result;
use limpet_lab::Lab;
use limpet_lab::address::Family;
use limpet_lab::world::{Protocol, ServiceSpec};

use crate::support::{Test, first_pods, frontend, serve};

const BYTES: u64 = 10 << 20;

pub(crate) fn tests() -> Vec<Test> {
    let test = |family: Family, place: &'static str, node: u8| {
        let name = format!("ten_megabytes_up_and_down_{}_{place}", family.name().to_lowercase());
        Test::new(name, move |lab| up_and_down(lab, family, place, node))
    };
    Family::BOTH
        .into_iter()
        .flat_map(|family| [test(family, "on_the_same_node", 1), test(family, "through_the_tunnel", 2)])
        .collect()
}

fn up_and_down(lab: &mut Lab, family: Family, place: &str, node: u8) -> Result<()> {
    let name = format!("transfer-{}", place.replace('_', "-"));
    serve(lab, ServiceSpec::new(&name, &first_pods([node])))?;
    let to = frontend(lab, &name, family, Protocol::Tcp)?;
    let mut connection = lab.client(1).tcp(to, None)?;
    let before = connection.who()?;
    connection.upload(BYTES, 1)?;
    connection.download(BYTES, 2)?;
    anyhow::ensure!(connection.who()? == before);
    Ok(())
}
