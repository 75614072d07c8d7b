//! Messages on their way, node by node.

use std::net::Ipv4Addr;

use super::*;

const CLIENT: SocketAddrV4 = address(1);
const NODE: SocketAddrV4 = address(2);
const SECOND: SocketAddrV4 = address(3);
const SERVER: SocketAddrV4 = address(4);

const fn address(host: u8) -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, host), 49737)
}

fn ask(relay_address: Option<SocketAddrV4>) -> HandshakeMessage {
    HandshakeMessage {
        mode: Mode::FromClient,
        noise: b"ask".to_vec(),
        peer_address: None,
        relay_address,
    }
}

/// The request that a step sends, and where to.
fn passed_on<T: std::fmt::Debug>(step: Step<T>) -> (HandshakeMessage, SocketAddrV4) {
    match step {
        Step::Send(Send::Request { value, to }) => (HandshakeMessage::decode(&value).unwrap(), to),
        other => panic!("{other:?}"),
    }
}

fn answered(serve: &ServeHandshake, from: SocketAddrV4) -> (HandshakeMessage, SocketAddrV4) {
    passed_on::<ServeHandshake>(Step::Send(serve.answer(b"answer".to_vec(), from)))
}

fn reply_to_client(message: HandshakeMessage) -> HandshakeMessage {
    match handshake(message, SERVER, Route::Announced(SERVER)) {
        Step::Send(Send::Reply { value, to }) => {
            assert_eq!(to, CLIENT);
            HandshakeMessage::decode(&value).unwrap()
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_handshake_goes_through_one_node_and_back() {
    let (message, to) = passed_on(handshake(ask(None), CLIENT, Route::Announced(SERVER)));
    assert_eq!(to, SERVER);
    let Step::Serve(serve) = handshake(message, NODE, Route::Here) else {
        panic!()
    };
    assert_eq!(
        (serve.client, serve.direct, &serve.noise[..]),
        (CLIENT, false, &b"ask"[..])
    );
    let (message, to) = answered(&serve, NODE);
    assert_eq!(to, NODE);
    let reply = reply_to_client(message);
    assert_eq!((reply.mode, reply.peer_address), (Mode::Reply, Some(SERVER)));
    assert_eq!(reply.noise, b"answer");
}

#[test]
fn a_handshake_goes_through_two_nodes_and_back_through_the_first() {
    let (message, to) = passed_on(handshake(ask(Some(SECOND)), CLIENT, Route::Unknown));
    assert_eq!(to, SECOND);
    let (message, to) = passed_on(handshake(message, NODE, Route::Announced(SERVER)));
    assert_eq!(to, SERVER);
    let Step::Serve(serve) = handshake(message, SECOND, Route::Here) else {
        panic!()
    };
    assert_eq!(serve.client, CLIENT);
    let (message, to) = answered(&serve, SECOND);
    assert_eq!(to, NODE);
    assert_eq!(reply_to_client(message).peer_address, Some(SERVER));
}

#[test]
fn a_server_that_is_asked_directly_answers_directly() {
    let Step::Serve(serve) = handshake(ask(None), CLIENT, Route::Here) else {
        panic!()
    };
    assert!(serve.direct);
    let Send::Reply { value, to } = serve.answer(b"answer".to_vec(), CLIENT) else {
        panic!()
    };
    let reply = HandshakeMessage::decode(&value).unwrap();
    assert_eq!((to, reply.mode, reply.peer_address), (CLIENT, Mode::Reply, None));
}

#[test]
fn who_asks_a_node_that_knows_nothing_is_told_closer_nodes() {
    assert_eq!(
        handshake(ask(None), CLIENT, Route::Unknown),
        Step::Send(Send::CloserNodes)
    );
}

#[test]
fn a_holepunch_goes_to_the_server_and_back() {
    let request = HolepunchMessage {
        mode: Mode::FromClient,
        id: 7,
        payload: b"sealed".to_vec(),
        peer_address: Some(SERVER),
    };
    let Step::Send(Send::Request { value, to }) = holepunch(request, CLIENT, Route::Unknown) else {
        panic!()
    };
    assert_eq!(to, SERVER);
    let message = HolepunchMessage::decode(&value).unwrap();
    let Step::Serve(serve) = holepunch(message, NODE, Route::Here) else {
        panic!()
    };
    assert_eq!((serve.id, serve.client), (7, CLIENT));
    let Send::Request { value, to } = serve.answer(b"back".to_vec(), NODE) else {
        panic!()
    };
    assert_eq!(to, NODE);
    let message = HolepunchMessage::decode(&value).unwrap();
    let Step::Send(Send::Reply { value, to }) = holepunch(message, SERVER, Route::Unknown) else {
        panic!()
    };
    let reply = HolepunchMessage::decode(&value).unwrap();
    assert_eq!(
        (to, reply.peer_address, &reply.payload[..]),
        (CLIENT, Some(SERVER), &b"back"[..])
    );
}

#[test]
fn what_does_not_fit_is_ignored() {
    for mode in [Mode::FromServer, Mode::Reply, Mode::FromSecondRelay] {
        for route in [Route::Here, Route::Announced(SERVER), Route::Unknown] {
            let message = HandshakeMessage { mode, ..ask(None) };
            assert_eq!(handshake(message, CLIENT, route), Step::Ignore);
        }
    }
    for mode in [
        Mode::FromRelay,
        Mode::FromServer,
        Mode::FromSecondRelay,
        Mode::Reply,
    ] {
        let message = HolepunchMessage {
            mode,
            id: 0,
            payload: Vec::new(),
            peer_address: None,
        };
        assert_eq!(holepunch(message, CLIENT, Route::Here), Step::Ignore);
    }
}
