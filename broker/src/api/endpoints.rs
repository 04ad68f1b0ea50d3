//! The brokers and where clients reach them.

use logic::metadata::Image;
use protocol::types::BrokerId;

/// A broker as clients are told of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoint<'a> {
    /// Its id.
    pub id: BrokerId,
    /// Host name or address.
    pub host: &'a str,
    /// Port.
    pub port: i32,
    /// Its rack.
    pub rack: Option<&'a str>,
}

/// The registered brokers. None of them is ever fenced: a broker that is gone is told all the same.
pub fn endpoints(image: &Image) -> impl Iterator<Item = Endpoint<'_>> {
    image.brokers().filter_map(|broker| {
        let listener = broker.listeners.first()?;
        Some(Endpoint {
            id: broker.id,
            host: &listener.host,
            port: i32::from(listener.port),
            rack: broker.rack.as_deref(),
        })
    })
}
