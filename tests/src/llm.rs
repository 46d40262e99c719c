//! A model that is none: it answers as OpenAI's and Anthropic's APIs do, in JSON and in events, and remembers the truth:
//! what it was asked, how many tokens it wrote, and whether somebody still listened.
//!
//! A token is four bytes. What it does beyond that, a request tells it in fields of its header:
//!
//! | field | meaning |
//! |---|---|
//! | `x-model-tokens` | how many tokens it writes (20) |
//! | `x-model-prompt` | how many tokens it says the prompt has (a quarter of the body) |
//! | `x-model-usage: no` | it does not say what it used |
//! | `x-model-status` | its status, with an error in the body |
//! | `x-model-pause-ms` | it rests so long before each token |
//! | `x-model-dies-after` | it closes the connection after so many tokens |
//! | `x-model-waits-after` | it says nothing more after so many tokens, until nobody listens any more |
//! | `x-model-lines` | how its lines end: `lf`, `crlf` or `cr` |
//! | `x-model-encoding` | the `Content-Encoding` that it claims |

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

use crate::gateway::wait;
use crate::origin::{Seen, read_request};

/// What it writes for each token.
pub const TOKEN: &str = "tok ";

/// What happened to one request.
#[derive(Debug, Clone)]
pub struct Truth {
    /// What it was asked.
    pub asked: Seen,
    /// Tokens of the prompt.
    pub prompt: u64,
    /// Tokens that it wrote.
    pub completion: u64,
    /// Nobody listened any more.
    pub aborted: bool,
}

/// A running model.
pub struct Model {
    /// Where it listens.
    pub address: SocketAddr,
    truths: Arc<Mutex<Vec<Truth>>>,
    asked: Arc<Mutex<usize>>,
}

impl Model {
    /// Starts one.
    pub fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let address = listener.local_addr().expect("its address");
        let (truths, asked) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(0)));
        let (all, count) = (Arc::clone(&truths), Arc::clone(&asked));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (all, count) = (Arc::clone(&all), Arc::clone(&count));
                std::thread::spawn(move || serve(stream, &all, &count));
            }
        });
        Self { address, truths, asked }
    }

    /// How many requests came to it.
    pub fn asked(&self) -> usize {
        *self.asked.lock().expect("the count")
    }

    /// What happened to the requests so far, once there are `count`.
    pub fn truths(&self, count: usize) -> Vec<Truth> {
        wait("the model's answers", || {
            self.truths.lock().expect("the list").len() >= count
        });
        self.truths.lock().expect("the list").clone()
    }
}

struct Answering<'r> {
    request: &'r Seen,
    stream: &'r mut TcpStream,
    prompt: u64,
    completion: u64,
}

fn serve(mut stream: TcpStream, all: &Mutex<Vec<Truth>>, count: &Mutex<usize>) {
    let _ = stream.set_nodelay(true);
    let mut buffer = Vec::new();
    while let Some(request) = read_request(&mut stream, &mut buffer) {
        *count.lock().expect("the count") += 1;
        let prompt = number(&request, "x-model-prompt").unwrap_or(request.body.len() as u64 / 4);
        let mut answering = Answering {
            request: &request,
            stream: &mut stream,
            prompt,
            completion: 0,
        };
        let goes_on = answering.answer();
        let (completion, aborted) = (answering.completion, goes_on.is_none());
        all.lock().expect("the list").push(Truth {
            asked: request,
            prompt,
            completion,
            aborted,
        });
        if goes_on != Some(true) {
            return;
        }
    }
}

impl Answering<'_> {
    /// `None`: nobody listened any more; `Some(false)`: the connection is to be closed.
    fn answer(&mut self) -> Option<bool> {
        let body: Value = serde_json::from_slice(&self.request.body).unwrap_or_default();
        if let Some(status) = number(self.request, "x-model-status") {
            let error = json!({ "error": { "message": "no", "type": "server_error" } });
            return self.document(status, &error);
        }
        let tokens = number(self.request, "x-model-tokens").unwrap_or(20);
        if body["stream"] == true {
            self.events(tokens)
        } else {
            self.json(tokens)
        }
    }

    fn is_anthropic(&self) -> bool {
        self.request.target().starts_with("/v1/messages")
    }

    fn says_usage(&self) -> bool {
        self.request.all("x-model-usage") != ["no"]
    }

    fn json(&mut self, tokens: u64) -> Option<bool> {
        let text = TOKEN.repeat(usize::try_from(tokens).expect("a short answer"));
        let mut answer = if self.is_anthropic() {
            json!({ "type": "message", "role": "assistant", "content": [{ "type": "text", "text": text }] })
        } else {
            json!({ "object": "chat.completion", "choices": [{ "index": 0, "message": { "role": "assistant", "content": text } }] })
        };
        if self.says_usage() {
            answer["usage"] = if self.is_anthropic() {
                json!({ "input_tokens": self.prompt, "output_tokens": tokens })
            } else {
                let total = self.prompt + tokens;
                json!({ "prompt_tokens": self.prompt, "completion_tokens": tokens, "total_tokens": total })
            };
        }
        self.completion = tokens;
        if number(self.request, "x-model-dies-after").is_some() {
            return Some(false);
        }
        self.document(200, &answer)
    }

    fn document(&mut self, status: u64, document: &Value) -> Option<bool> {
        let text = document.to_string();
        let encoding = self.request.all("x-model-encoding");
        let encoding = encoding.first().map(|coding| format!("Content-Encoding: {coding}\r\n"));
        let head = format!(
            "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\n{}Content-Length: {}\r\n\r\n",
            encoding.unwrap_or_default(),
            text.len()
        );
        self.stream.write_all((head + &text).as_bytes()).ok().map(|()| true)
    }

    fn events(&mut self, tokens: u64) -> Option<bool> {
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
        self.stream.write_all(head.as_bytes()).ok()?;
        let pause = number(self.request, "x-model-pause-ms").unwrap_or(0);
        let dies_after = number(self.request, "x-model-dies-after");
        let waits_after = number(self.request, "x-model-waits-after");
        self.begin()?;
        for token in 0..tokens {
            if dies_after == Some(token) {
                return Some(false);
            }
            if waits_after == Some(token) {
                return self.wait();
            }
            std::thread::sleep(Duration::from_millis(pause));
            self.event(&self.delta())?;
            self.completion += 1;
        }
        self.end()?;
        self.stream.write_all(b"0\r\n\r\n").ok().map(|()| true)
    }

    /// Until nobody listens any more.
    fn wait(&mut self) -> Option<bool> {
        while self.stream.read(&mut [0]).is_ok_and(|count| count > 0) {}
        None
    }

    fn begin(&mut self) -> Option<()> {
        self.piece(": a comment\n\n")?;
        if !self.is_anthropic() {
            return Some(());
        }
        let usage = if self.says_usage() {
            json!({ "input_tokens": self.prompt, "output_tokens": 1 })
        } else {
            Value::Null
        };
        self.event(
            &json!({ "type": "message_start", "message": { "role": "assistant", "content": [], "usage": usage } }),
        )?;
        self.event(
            &json!({ "type": "content_block_start", "index": 0, "content_block": { "type": "text", "text": "" } }),
        )?;
        self.event(&json!({ "type": "ping" }))
    }

    fn delta(&self) -> Value {
        if self.is_anthropic() {
            json!({ "type": "content_block_delta", "index": 0, "delta": { "type": "text_delta", "text": TOKEN } })
        } else {
            json!({ "object": "chat.completion.chunk", "choices": [{ "index": 0, "delta": { "content": TOKEN }, "finish_reason": null }] })
        }
    }

    fn end(&mut self) -> Option<()> {
        if self.is_anthropic() {
            self.event(&json!({ "type": "content_block_stop", "index": 0 }))?;
            let mut delta = json!({ "type": "message_delta", "delta": { "stop_reason": "end_turn" } });
            if self.says_usage() {
                delta["usage"] = json!({ "output_tokens": self.completion });
            }
            self.event(&delta)?;
            return self.event(&json!({ "type": "message_stop" }));
        }
        if self.says_usage() {
            let usage = json!({ "prompt_tokens": self.prompt, "completion_tokens": self.completion });
            self.event(&json!({ "object": "chat.completion.chunk", "choices": [], "usage": usage }))?;
        }
        self.piece("data: [DONE]\n\n")
    }

    fn event(&mut self, data: &Value) -> Option<()> {
        let name = data["type"].as_str().map(|name| format!("event: {name}\n"));
        self.piece(&format!("{}data: {data}\n\n", name.unwrap_or_default()))
    }

    /// One chunk, with the lines' ends that were asked for.
    fn piece(&mut self, text: &str) -> Option<()> {
        let text = match self.request.all("x-model-lines").first() {
            Some(&"crlf") => text.replace('\n', "\r\n"),
            Some(&"cr") => text.replace('\n', "\r"),
            _ => text.to_owned(),
        };
        let chunk = format!("{:x}\r\n{text}\r\n", text.len());
        self.stream.write_all(chunk.as_bytes()).ok()
    }
}

fn number(request: &Seen, name: &str) -> Option<u64> {
    request.all(name).first()?.parse().ok()
}
