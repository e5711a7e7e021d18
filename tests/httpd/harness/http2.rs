//! HTTP/2 without TLS, by prior knowledge (RFC 9113 section 3.3).

use std::net::SocketAddr;

use h2::Reason;
use h2::client::SendRequest;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::runtime::Runtime;

use super::{Answer, PATIENCE};

/// An HTTP/2 connection.
pub(crate) struct Http2 {
    runtime: Runtime,
    sender: SendRequest<Body>,
}

type Body = std::io::Cursor<Vec<u8>>;

impl Http2 {
    /// Connects.
    pub(crate) fn open(to: SocketAddr) -> Self {
        Self::open_behind(to, "")
    }

    /// Connects as a load balancer does that first sends this line about its client.
    pub(crate) fn open_behind(to: SocketAddr, line: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let sender = runtime.block_on(async {
            let mut stream = TcpStream::connect(to).await.unwrap();
            stream.write_all(line.as_bytes()).await.unwrap();
            let (sender, connection) = h2::client::Builder::new().handshake::<_, Body>(stream).await.unwrap();
            tokio::spawn(connection);
            sender
        });
        Self { runtime, sender }
    }

    /// `GET target` with these headers.
    pub(crate) fn get(&mut self, target: &str, headers: &[(&str, &str)]) -> Answer {
        self.send(request("GET", target, headers)).expect("an answer")
    }

    /// All these requests at once on this connection.
    pub(crate) fn get_all(&mut self, requests: &[(String, Vec<(&str, &str)>)]) -> Vec<Answer> {
        let limit = PATIENCE;
        let sender = &self.sender;
        self.runtime.block_on(async {
            let mut waiting = Vec::new();
            for (target, headers) in requests {
                let mut sender = sender.clone().ready().await.unwrap();
                let (answer, _) = sender.send_request(request("GET", target, headers), true).unwrap();
                waiting.push(tokio::spawn(collect(answer)));
            }
            let mut answers = Vec::new();
            for answer in waiting {
                answers.push(tokio::time::timeout(limit, answer).await.unwrap().unwrap().expect("an answer"));
            }
            answers
        })
    }

    /// Sends one request without body.
    pub(crate) fn send(&mut self, request: http::Request<()>) -> Result<Answer, h2::Error> {
        let sender = self.sender.clone();
        self.runtime.block_on(async {
            let mut sender = sender.ready().await?;
            let (answer, _) = sender.send_request(request, true)?;
            tokio::time::timeout(PATIENCE, collect(answer)).await.expect("in time")
        })
    }

    /// Begins an upload that never ends: gives the answer, and with what reason the server then resets the stream.
    pub(crate) fn upload_without_end(&mut self, target: &str, headers: &[(&str, &str)]) -> (Answer, Option<Reason>) {
        let sender = self.sender.clone();
        self.runtime.block_on(async {
            let mut sender = sender.ready().await.unwrap();
            let (answer, mut body) = sender.send_request(request("POST", target, headers), false).unwrap();
            body.send_data(std::io::Cursor::new(vec![b'x'; 1024]), false).unwrap();
            let answer = tokio::time::timeout(PATIENCE, collect(answer)).await.expect("in time").expect("an answer");
            let reset = tokio::time::timeout(PATIENCE, std::future::poll_fn(|cx| body.poll_reset(cx))).await;
            (answer, reset.ok().and_then(Result::ok))
        })
    }
}

fn request(method: &str, target: &str, headers: &[(&str, &str)]) -> http::Request<()> {
    let mut request = http::Request::builder().method(method).uri(format!("http://gate.test{target}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap()
}

async fn collect(answer: h2::client::ResponseFuture) -> Result<Answer, h2::Error> {
    let (head, mut stream) = answer.await?.into_parts();
    let mut body = Vec::new();
    while let Some(data) = stream.data().await {
        // The server may reset a stream after a complete answer (RFC 9113 section 8.1).
        let data = match data {
            Ok(data) => data,
            Err(error) if error.reason() == Some(Reason::NO_ERROR) => break,
            Err(error) => return Err(error),
        };
        drop(stream.flow_control().release_capacity(data.len()));
        body.extend_from_slice(&data);
    }
    let header = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
        (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    Ok(Answer { status: head.status.as_u16(), headers: head.headers.iter().map(header).collect(), body })
}
