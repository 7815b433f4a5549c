//! Plugs that run Tasmota: `Status 10` says watts and kilowatt-hours.
//!
//! The total moves in steps of a watt-hour (3,600 J): power is integrated, the total checks it.
//! Documentation: <https://tasmota.github.io/docs/Commands/#with-web-requests> and
//! <https://tasmota.github.io/docs/JSON-Status-Responses/>.

use reqwest::Url;

use super::super::ReadError;
use super::http::{Access, Secret};
use super::pointer::{Field, Unit, Veto};
use super::{Facts, Page};

/// The power and the total of a plug at `base`.
pub(super) fn pages(base: &Url, access: &Access) -> Result<Vec<Page>, ReadError> {
    let mut url = below(base, "cm");
    url.query_pairs_mut().append_pair("cmnd", "Status 10");
    if let Access::Password { user, file } = access {
        // Tasmota takes its password in the query, and no other way.
        let password = Secret::read(file)?;
        url.query_pairs_mut()
            .append_pair("user", user)
            .append_pair("password", password.reveal());
    }
    let veto = Some(Veto::Login("/WARNING"));
    let page = |pointer, unit, facts| Page {
        url: url.clone(),
        field: Field::new(pointer, unit, veto),
        facts,
    };
    Ok(vec![
        page(
            "/StatusSNS/ENERGY/Power",
            Unit::Watt,
            Facts::plug_power("Tasmota ENERGY.Power".to_owned()),
        ),
        page(
            "/StatusSNS/ENERGY/Total",
            Unit::KiloWattHour,
            Facts::plug_total("Tasmota ENERGY.Total".to_owned()),
        ),
    ])
}

/// The page `path` of the device at `base`.
pub(super) fn below(base: &Url, path: &str) -> Url {
    let mut url = base.clone();
    url.set_path(&format!("{}/{path}", base.path().trim_end_matches('/')));
    url
}
