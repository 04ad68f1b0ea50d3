//! A broker's `/metrics`, here or on another machine: Prometheus text over plain HTTP.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use crate::limits::METRICS_BYTES_MAX;

/// For all of it: who answers byte by byte has no longer.
const TIME_MAX: Duration = Duration::from_secs(2);
/// Read at once.
const READ_BYTES: usize = 64 << 10;
const PATH: &str = "/metrics";

/// Where metrics are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metrics {
    address: SocketAddr,
    host: String,
    path: String,
}

impl Metrics {
    /// Of a broker whose admin port is there.
    pub fn at(address: SocketAddr) -> Self {
        Self { address, host: address.to_string(), path: PATH.to_owned() }
    }

    /// `HOST:PORT` or `http://HOST:PORT[/PATH]`; or why that can't be.
    pub fn named(text: &str) -> Result<Self, String> {
        let rest = match text.split_once("://") {
            Some(("http", rest)) => rest,
            Some((scheme, _)) => return Err(format!("{scheme} is not spoken here, only http")),
            None => text,
        };
        let (host, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        let mut addresses = host.to_socket_addrs().map_err(|error| error.to_string())?;
        let address = addresses.next().ok_or("the name has no address")?;
        let path = if path.len() > 1 { path } else { PATH };
        Ok(Self { address, host: host.to_owned(), path: path.to_owned() })
    }

    /// In words.
    pub fn url(&self) -> String {
        format!("http://{}{}", self.host, self.path)
    }

    /// What is told now; or why nothing is.
    pub fn read(&self) -> Result<String, String> {
        self.read_by(Instant::now)
    }

    fn read_by(&self, now: impl Fn() -> Instant) -> Result<String, String> {
        let answer = self.ask(now).map_err(|error| match error.kind() {
            // The kernel calls a socket's timeout the former.
            ErrorKind::WouldBlock | ErrorKind::TimedOut => format!("no whole answer within {TIME_MAX:?}"),
            _ => error.to_string(),
        })?;
        let (head, body) = answer.split_once("\r\n\r\n").ok_or("what answers there speaks no HTTP")?;
        let status = head.lines().next().unwrap_or_default();
        match status.split(' ').nth(1) {
            Some("200") => Ok(body.to_owned()),
            _ => Err(format!("the answer is {status:?}")),
        }
    }

    fn ask(&self, now: impl Fn() -> Instant) -> io::Result<String> {
        let deadline = now() + TIME_MAX;
        let left = || match deadline.saturating_duration_since(now()) {
            Duration::ZERO => Err(io::Error::from(ErrorKind::TimedOut)),
            left => Ok(left),
        };
        let mut stream = TcpStream::connect_timeout(&self.address, left()?)?;
        // To a client of HTTP 1.0 nobody answers in chunks.
        let request = format!("GET {} HTTP/1.0\r\nHost: {}\r\n\r\n", self.path, self.host);
        stream.set_write_timeout(Some(left()?))?;
        stream.write_all(request.as_bytes())?;
        let (mut answer, mut part) = (Vec::new(), vec![0; READ_BYTES]);
        loop {
            stream.set_read_timeout(Some(left()?))?;
            match stream.read(&mut part) {
                Ok(0) => break,
                Ok(count) => answer.extend_from_slice(&part[..count]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            if answer.len() as u64 > METRICS_BYTES_MAX {
                return Err(io::Error::other(format!("the answer has more than {METRICS_BYTES_MAX} bytes")));
            }
        }
        String::from_utf8(answer).map_err(|_| io::Error::other("the answer is no text"))
    }
}

/// The sum of a metric over its labels.
pub fn metric(page: &str, name: &str) -> Option<f64> {
    let values = page.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        let rest = if rest.starts_with('{') { rest.split_once('}')?.1 } else { rest };
        rest.trim().parse::<f64>().ok().filter(|value| value.is_finite())
    });
    values.fold(None, |sum, value| Some(sum.unwrap_or(0.0) + value))
}

/// A metric that counts whole things.
pub fn count(page: &str, name: &str) -> Option<u64> {
    // Beyond 2^53 a counter would have to run for centuries.
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it is checked to be in range"
    )]
    metric(page, name).filter(|value| (0.0..9e15).contains(value)).map(|value| value as u64)
}

/// The value of a label of a metric.
pub fn label<'a>(page: &'a str, name: &str, label: &str) -> Option<&'a str> {
    let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('{'))?;
    let (_, rest) = line.split_once(&format!("{label}=\""))?;
    Some(rest.split_once('"')?.0)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn metrics_are_named_by_an_address_or_a_url() {
        let url = |text: &str| Metrics::named(text).map(|metrics| metrics.url());
        assert_eq!(url("127.0.0.1:9100"), Ok("http://127.0.0.1:9100/metrics".into()));
        assert_eq!(url("http://127.0.0.1:9100/"), Ok("http://127.0.0.1:9100/metrics".into()));
        assert_eq!(url("http://127.0.0.1:9100/a/b"), Ok("http://127.0.0.1:9100/a/b".into()));
        assert!(url("https://127.0.0.1:9100").is_err_and(|why| why.contains("only http")));
        assert!(url("nowhere").is_err());
    }

    /// What somebody who answers so tells, by the clock `now`. Who asked may hang up in the middle.
    fn told_by(
        now: impl Fn() -> Instant,
        answer: impl FnOnce(&mut std::net::TcpStream) -> io::Result<()> + Send + 'static,
    ) -> Result<String, String> {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let metrics = Metrics::at(listener.local_addr().expect("it has an address"));
        let server = std::thread::spawn(move || {
            let (mut guest, _) = listener.accept().expect("a guest");
            // All of it is read: closing on bytes that were not would reset the connection.
            let mut asked = Vec::new();
            while !asked.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                guest.read_exact(&mut byte).expect("it asks");
                asked.push(byte[0]);
            }
            assert!(asked.starts_with(b"GET /metrics HTTP/1.0\r\n"), "{asked:?}");
            let _ = answer(&mut guest);
        });
        let told = metrics.read_by(now);
        server.join().expect("it was asked as it should be");
        told
    }

    fn told(answer: &'static str) -> Result<String, String> {
        told_by(Instant::now, |guest| guest.write_all(answer.as_bytes()))
    }

    const LINE: &[u8] = b"x 1\n";

    /// More and more lines, until nobody listens any more.
    fn endless(guest: &mut std::net::TcpStream) -> io::Result<()> {
        guest.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
        loop {
            guest.write_all(LINE)?;
        }
    }

    #[test]
    fn an_answer_that_goes_on_and_on_is_given_up() {
        let (begin, looks) = (Instant::now(), std::cell::Cell::new(0));
        // Each look at the clock is a fifth of a second after the last.
        let now = || begin + Duration::from_millis(200 * looks.replace(looks.get() + 1));
        assert_eq!(told_by(now, endless), Err("no whole answer within 2s".into()));
        assert!(looks.get() <= 11, "nothing is awaited after two seconds: {} looks", looks.get());
    }

    #[test]
    fn a_page_that_is_too_large_is_not_summed_in_part() {
        let page = LINE.repeat(usize::try_from(METRICS_BYTES_MAX).expect("it fits") / LINE.len());
        let begin = Instant::now();
        let told = told_by(
            || begin,
            move |guest| guest.write_all(b"HTTP/1.1 200 OK\r\n\r\n").and(guest.write_all(&page)),
        );
        let refused = told.expect_err("it has a head besides");
        assert!(refused.contains("more than 16777216 bytes"), "{refused}");
    }

    #[test]
    fn only_what_was_answered_well_is_taken() {
        assert_eq!(told("HTTP/1.1 200 OK\r\nA: b\r\n\r\nx 1\n"), Ok("x 1\n".into()));
        let missing = told("HTTP/1.1 404 Not Found\r\n\r\nx 1\n").expect_err("it is refused");
        assert!(missing.contains("404 Not Found"), "{missing}");
        let odd = told("what?").expect_err("it is refused");
        assert!(odd.contains("no HTTP"), "{odd}");
    }

    #[test]
    fn metrics_are_summed_over_shards() {
        let page =
            "# HELP x_total x\nx_total{shard=\"0\"} 3\nx_total{shard=\"1\"} 4\nx_total_more 9\ny 5.25\n";
        assert_eq!(count(page, "x_total"), Some(7));
        assert_eq!(metric(page, "y"), Some(5.25));
        assert_eq!(metric(page, "z"), None);
        assert_eq!(label("b{version=\"1.2\"} 1\n", "b", "version"), Some("1.2"));
    }
}
