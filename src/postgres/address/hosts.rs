//! The hosts of an address.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use super::fault;
use crate::redact::AddressFault;

/// Where PostgreSQL's builds put their sockets: Debian's, then its own default.
const SOCKETS: [&str; 2] = ["/var/run/postgresql", "/tmp"];
const DEFAULT_PORT: u16 = 5432;

/// One of the hosts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::postgres) struct Host {
    /// Name, address, or the folder of its socket: what certificates and the password file name.
    pub(in crate::postgres) name: String,
    /// The address to connect to instead of asking for that of the name.
    pub(in crate::postgres) address: Option<IpAddr>,
    pub(in crate::postgres) port: u16,
}

impl Host {
    /// The folder of a socket.
    pub(in crate::postgres) fn socket(&self) -> Option<PathBuf> {
        (self.address.is_none() && self.name.starts_with('/')).then(|| PathBuf::from(&self.name))
    }
}

/// Pairs hosts, addresses and ports up, as libpq does: one port is that of all.
pub(super) fn hosts(
    names: Option<&str>,
    addresses: Option<&str>,
    ports: Option<&str>,
) -> Result<Vec<Host>, AddressFault> {
    let list = |text: Option<&str>| -> Vec<String> {
        text.map(|text| text.split(',').map(|item| item.trim().to_owned()).collect())
            .unwrap_or_default()
    };
    let (names, addresses, ports) = (list(names), list(addresses), list(ports));
    let count = names.len().max(addresses.len()).max(1);
    let fits = |list: &[String]| list.is_empty() || list.len() == count;
    if !fits(&names) || !fits(&addresses) {
        return Err(fault("`hostaddr` names another number of hosts than `host`"));
    }
    if !fits(&ports) && ports.len() != 1 {
        return Err(fault("`port` names another number of hosts than `host`"));
    }
    let at = |list: &[String], index: usize| -> Option<String> {
        list.get(index).or_else(|| list.first().filter(|_| list.len() == 1)).cloned()
    };
    (0..count)
        .map(|index| {
            let stated = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
            let port = match stated(&at(&ports, index)) {
                None => DEFAULT_PORT,
                Some(text) => text
                    .parse()
                    .ok()
                    .filter(|port| *port != 0)
                    .ok_or_else(|| fault("`port` is no number from 1 to 65535"))?,
            };
            let address = match stated(&addresses.get(index).cloned()) {
                None => None,
                Some(text) => Some(text.parse::<IpAddr>().map_err(|_| {
                    fault("`hostaddr` is no address of IPv4 or IPv6; names belong into `host`")
                })?),
            };
            let name = stated(&names.get(index).cloned())
                .or_else(|| address.map(|address| address.to_string()))
                .unwrap_or_else(|| default_host(port));
            Ok(Host { name, address, port })
        })
        .collect()
}

/// The socket of a server of this machine, where there is one.
fn default_host(port: u16) -> String {
    let is_there = |folder: &&&str| Path::new(folder).join(format!(".s.PGSQL.{port}")).exists();
    SOCKETS.iter().find(is_there).map_or("localhost", |folder| folder).to_owned()
}

/// Whether a host is the folder of a socket that libpq takes without being told.
pub(super) fn is_default_socket(host: &str) -> bool {
    SOCKETS.contains(&host)
}
