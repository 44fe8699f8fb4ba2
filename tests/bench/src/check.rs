//! Before anything is measured: does every variant do what its name says? A benchmark of a rival that is set up wrong is worth nothing.
//!
//! Each answers rightly, goes through its proxy (or past all of them), and has as many shadows at v2 as it must.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, SocketAddrV4, TcpStream},
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use integration::wait;

use crate::{
    ours::NO_SHEDDING,
    variant::{Flavour, Product, Protocol, Variant},
    world::World,
};

/// Enough that a share of ten in a hundred is none of zero and none of all.
const REQUESTS: u64 = 200;

/// Checks every variant; one that is not as it must be is absent from then on. Ours must be as it must be.
pub(crate) fn all(world: &mut World) -> Result<()> {
    world.ours.run(&world.node, NO_SHEDDING)?;
    let mut wrong = BTreeMap::new();
    for product in Product::ALL {
        for flavour in Flavour::ALL {
            let variant = Variant::new(product, flavour);
            if !variant.exists() || world.absent.contains_key(&product) {
                continue;
            }
            if let Err(error) = one(world, variant).with_context(|| format!("{variant} is not what it should be")) {
                if matches!(product, Product::Direct | Product::Understudy) {
                    return Err(error);
                }
                println!("  {error:#}");
                wrong.insert(product, format!("{error:#}"));
            }
        }
    }
    world.absent.extend(wrong);
    Ok(())
}

/// Checks one variant. Our agent must run, and shed nothing.
pub(crate) fn one(world: &World, variant: Variant) -> Result<()> {
    let client = world.client(variant.product)?;
    let to = variant.flavour.address(Protocol::Http1);
    let before = (world.v1.requests()?, world.v2.requests()?);
    let v1 = world.v1.address(Protocol::Http1);
    client.run(|| {
        let mut connection = BufReader::new(TcpStream::connect(to)?);
        connection.get_ref().set_read_timeout(Some(Duration::from_secs(10)))?;
        for _ in 0..REQUESTS {
            ask(&mut connection, variant.flavour.host())?;
        }
        let through = connected_to(v1)?;
        ensure!(
            through == (variant.product != Product::Direct),
            "{} a proxy in the client's pod",
            if through { "the request went through" } else { "the request did not go through" }
        );
        Ok(())
    })?;
    let primaries = world.v1.requests()? - before.0;
    ensure!(primaries == REQUESTS, "v1 saw {primaries} of {REQUESTS} requests");
    let expected = match variant.flavour {
        Flavour::Mirrored => REQUESTS..=REQUESTS,
        Flavour::Tenth => 1..=REQUESTS / 3,
        _ => 0..=0,
    };
    let mut shadows = 0;
    let found = wait::until_or("shadows at v2", Duration::from_secs(5), || {
        shadows = world.v2.requests()? - before.1;
        Ok(expected.contains(&shadows).then_some(()))
    });
    ensure!(found.is_ok(), "v2 saw {shadows} shadows of {REQUESTS} requests, and {expected:?} were to come");
    Ok(())
}

fn ask(connection: &mut BufReader<TcpStream>, host: &str) -> Result<()> {
    connection.get_mut().write_all(format!("GET / HTTP/1.1\r\nHost: {host}:8000\r\n\r\n").as_bytes())?;
    let (mut status, mut length) = (String::new(), 0);
    connection.read_line(&mut status)?;
    ensure!(status.starts_with("HTTP/1.1 200"), "it answered {status:?}");
    loop {
        let mut line = String::new();
        if connection.read_line(&mut line)? == 0 {
            bail!("the answer ended in its head");
        }
        match line.trim_end().split_once(':') {
            None => break,
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => length = value.trim().parse()?,
            Some(_) => {}
        }
    }
    let mut body = vec![0; length];
    connection.read_exact(&mut body)?;
    ensure!(body.starts_with(b"small body of v1"), "the body is {:?}", String::from_utf8_lossy(&body));
    Ok(())
}

/// Is a socket of the calling thread's namespace connected to this address? Then a proxy lives here.
fn connected_to(address: SocketAddr) -> Result<bool> {
    let text = fs::read_to_string("/proc/thread-self/net/tcp")?;
    let remote = |line: &str| -> Option<SocketAddr> {
        let fields: Vec<_> = line.split_whitespace().collect();
        // Established.
        if *fields.get(3)? != "01" {
            return None;
        }
        let (ip, port) = fields.get(2)?.split_once(':')?;
        let ip = u32::from_str_radix(ip, 16).ok()?.to_ne_bytes();
        Some(SocketAddrV4::new(ip.into(), u16::from_str_radix(port, 16).ok()?).into())
    };
    // Tokio's sockets in a pod may be IPv4-mapped ones.
    let six = fs::read_to_string("/proc/thread-self/net/tcp6").unwrap_or_default();
    let mapped = |line: &str| -> Option<SocketAddr> {
        let fields: Vec<_> = line.split_whitespace().collect();
        let (ip, port) = fields.get(2)?.split_once(':')?;
        let ip = u32::from_str_radix(ip.get(24..)?, 16).ok()?.to_ne_bytes();
        (*fields.get(3)? == "01").then_some(SocketAddrV4::new(ip.into(), u16::from_str_radix(port, 16).ok()?).into())
    };
    let found = text.lines().skip(1).filter_map(remote).chain(six.lines().skip(1).filter_map(mapped));
    Ok(found.into_iter().any(|remote| remote == address))
}
