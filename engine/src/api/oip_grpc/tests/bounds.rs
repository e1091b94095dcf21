//! Bounds of size, time and number.

use super::*;

/// A body that begins and never goes on.
struct Stuck(Option<Bytes>);

impl hyper::body::Body for Stuck {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match self.0.take() {
            Some(bytes) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
            None => Poll::Pending,
        }
    }
}

async fn begun(channel: &mut Channel, body: Bytes) -> hyper::http::Response<Body> {
    let request = hyper::Request::post(MODEL_INFER)
        .header("content-type", "application/grpc")
        .body(Body::new(Stuck(Some(body))))
        .unwrap();
    std::future::poll_fn(|context| channel.poll_ready(context)).await.unwrap();
    channel.call(request).await.unwrap()
}

#[test]
fn messages_up_to_the_limit_are_taken_and_longer_ones_refused() {
    run(async {
        let limits = HttpLimits { body_bytes_max: 1 << 20, ..HttpLimits::default() };
        let server = limited(limits, Script::Echo);
        let mut client = client(&server).await;
        let padded = |bytes: usize| ModelInferRequest { id: "x".repeat(bytes), ..row() };
        let answer = client.model_infer(padded((1 << 20) - 1000)).await.unwrap();
        assert_eq!(answer.into_inner().id.len(), (1 << 20) - 1000);
        let status = client.model_infer(padded(1 << 20)).await.unwrap_err();
        assert_eq!(status.code(), Code::ResourceExhausted);
        assert!(status.message().contains("1048576"), "{status}");
        assert_eq!(server.errors(ErrorKind::TooLarge), 1);
    });
}

#[test]
fn messages_may_be_compressed_within_the_same_limit() {
    use tonic::codec::CompressionEncoding::{Deflate, Gzip};
    run(async {
        let limits = HttpLimits { body_bytes_max: 1 << 20, ..HttpLimits::default() };
        let server = limited(limits, Script::Echo);
        for encoding in [Gzip, Deflate] {
            let mut client =
                client(&server).await.send_compressed(encoding).accept_compressed(encoding);
            let answer = client.model_infer(row()).await.unwrap();
            assert!(answer.metadata().contains_key("grpc-encoding"));
            assert_eq!(answer.into_inner().raw_output_contents.len(), 1);
            let bomb = ModelInferRequest { id: "x".repeat(2 << 20), ..row() };
            let status = client.model_infer(bomb).await.unwrap_err();
            assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
        }
        let mut plain = client(&server).await.accept_compressed(Gzip);
        let answer = plain.model_infer(row()).await.unwrap();
        assert!(
            !answer.metadata().contains_key("grpc-encoding"),
            "nobody compressed, so nobody does"
        );
    });
}

#[test]
fn a_message_that_stops_half_way_is_given_up() {
    run(async {
        let limits =
            HttpLimits { body_time_max: Duration::from_millis(50), ..HttpLimits::default() };
        let server = limited(limits, Script::Echo);
        let response =
            begun(&mut channel(&server).await, Bytes::from_static(&[0, 0, 0, 0, 9, 1])).await;
        assert_eq!(
            Status::from_header_map(response.headers()).unwrap().code(),
            Code::DeadlineExceeded
        );
        assert_eq!(server.errors(ErrorKind::SlowSender), 1);
    });
}

#[test]
fn unfinished_messages_of_one_connection_are_bounded_together() {
    run(async {
        let limits = HttpLimits { body_bytes_max: 10_000, ..HttpLimits::default() };
        let server = limited(limits, Script::Echo);
        let channel = channel(&server).await;
        let piece = || {
            let mut piece = BytesMut::from(&[0, 0, 0, 0x27, 0x10][..]);
            piece.resize(9_000, 0);
            piece.freeze()
        };
        let mut unfinished = tokio::task::JoinSet::new();
        for _ in 0..5 {
            let mut channel = channel.clone();
            unfinished.spawn(async move { begun(&mut channel, piece()).await });
        }
        let refused = unfinished.join_next().await.unwrap().unwrap();
        let code = Status::from_header_map(refused.headers()).unwrap().code();
        assert_eq!((code, unfinished.len()), (Code::ResourceExhausted, 4));
    });
}

#[test]
fn a_silent_connection_is_closed() {
    run(async {
        let quick = Duration::from_millis(40);
        let limits =
            HttpLimits { head_time_max: quick, idle_time_max: quick, ..HttpLimits::default() };
        let server = limited(limits, Script::Echo);
        let mut mute = TcpStream::connect(server.grpc).await.unwrap();
        let mut idle = TcpStream::connect(server.grpc).await.unwrap();
        idle.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
        for stream in [&mut mute, &mut idle] {
            let mut said = Vec::new();
            stream.read_to_end(&mut said).await.unwrap();
        }
    });
}
