//! A real browser, Chromium, without a window: its pages run scripts and go where a test sends them.
//!
//! It is driven by the Chrome DevTools Protocol over a pipe: JSON messages that end with a zero byte, in on file
//! descriptor 3 and out on 4.

use std::cell::RefCell;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread::JoinHandle;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::{PATIENCE, Server, await_some};

/// A browser with a fresh profile, below a server's folder; ends with this value. All names that end in `.test` are this
/// machine to it, and no others are known; whatever certificate it is shown is good.
#[derive(Debug)]
pub(crate) struct Chromium {
    child: Child,
    talk: RefCell<Talk>,
    stderr: Option<JoinHandle<String>>,
}

#[derive(Debug)]
struct Talk {
    last: u64,
    commands: ChildStdin,
    messages: Receiver<Value>,
    /// What pages wrote to their consoles, and what the browser itself said there.
    console: Vec<Value>,
}

impl Chromium {
    /// Starts `chromium`, or what `JWT_GATE_CHROMIUM` names.
    ///
    /// # Panics
    /// When there is none.
    pub(crate) fn start(server: &Server) -> Self {
        let program = std::env::var("JWT_GATE_CHROMIUM").unwrap_or_else(|_| "chromium".to_owned());
        let folder = server.root.join("chromium");
        std::fs::create_dir_all(&folder).unwrap();
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "sh", "-c", r#"exec "$0" "$@" 3<&0 4>&1 </dev/null >&2"#, &program]);
        command.args([
            "--headless",
            "--remote-debugging-pipe",
            // The pages are the tests' own, and often it is root who runs them.
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--ignore-certificate-errors",
            "--host-resolver-rules=MAP *.test 127.0.0.1, MAP * ~NOTFOUND",
            "--no-proxy-server",
            // Of its own, it asks for nothing in the network.
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--no-first-run",
        ]);
        command.arg(format!("--user-data-dir={}", folder.join("profile").display()));
        command.env("HOME", &folder).env("TMPDIR", &folder);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("setpriv (util-linux) can be started");
        let (sender, messages) = mpsc::channel();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            let mut message = Vec::new();
            while output.read_until(0, &mut message).is_ok_and(|length| length > 0) {
                let Ok(value) = serde_json::from_slice(message.strip_suffix(b"\0").unwrap_or(&message)) else { break };
                if sender.send(value).is_err() {
                    break;
                }
                message.clear();
            }
        });
        let mut stderr = child.stderr.take().unwrap();
        let stderr = std::thread::spawn(move || {
            let mut said = Vec::new();
            // What came before an error is all that there is.
            drop(stderr.read_to_end(&mut said));
            String::from_utf8_lossy(&said).into_owned()
        });
        let talk = RefCell::new(Talk { last: 0, commands: child.stdin.take().unwrap(), messages, console: Vec::new() });
        let browser = Self { child, talk, stderr: Some(stderr) };
        browser.ask(None, "Browser.getVersion", &json!({})).unwrap_or_else(|error| {
            panic!("{program} does not start ({error}): install the package chromium, or name one in JWT_GATE_CHROMIUM")
        });
        browser
    }

    /// A new page that shows this.
    pub(crate) fn page(&self, url: &str) -> Page<'_> {
        let target = self.must(None, "Target.createTarget", &json!({"url": "about:blank"}));
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        let session = self.must(None, "Target.attachToTarget", &attach)["sessionId"].as_str().unwrap().to_owned();
        for domain in ["Runtime.enable", "Log.enable"] {
            self.must(Some(&session), domain, &json!({}));
        }
        let page = Page { browser: self, session };
        page.open(url);
        page
    }

    fn must(&self, session: Option<&str>, method: &str, parameters: &Value) -> Value {
        self.ask(session, method, parameters).unwrap_or_else(|error| panic!("{method} {parameters}: {error}"))
    }

    /// Gives the result of a command, or what is wrong with it.
    fn ask(&self, session: Option<&str>, method: &str, parameters: &Value) -> Result<Value, String> {
        let mut talk = self.talk.borrow_mut();
        talk.last += 1;
        let id = talk.last;
        let mut command = json!({"id": id, "method": method, "params": parameters});
        if let Some(session) = session {
            command["sessionId"] = session.into();
        }
        write!(talk.commands, "{command}\0").map_err(|error| error.to_string())?;
        loop {
            // Between the answers there are events.
            let message = talk.messages.recv_timeout(PATIENCE).map_err(|error| error.to_string())?;
            let event = message["method"].as_str().unwrap_or_default();
            if ["Log.entryAdded", "Runtime.exceptionThrown", "Runtime.consoleAPICalled"].contains(&event) {
                talk.console.push(message["params"].clone());
            }
            if message["id"] == id {
                return match message.get("error") {
                    Some(error) => Err(error.to_string()),
                    None => Ok(message["result"].clone()),
                };
            }
        }
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        // It then ends with all its processes. It may have done so by itself.
        if self.ask(None, "Browser.close", &json!({})).is_err() {
            drop(self.child.kill());
        }
        drop(self.child.wait());
        let said = self.stderr.take().map(JoinHandle::join);
        if std::thread::panicking() {
            eprintln!("chromium wrote to stderr:\n{}", said.and_then(Result::ok).unwrap_or_default());
        }
    }
}

/// A page, as the user sees it in a tab.
#[derive(Debug)]
pub(crate) struct Page<'b> {
    browser: &'b Chromium,
    session: String,
}

impl Page<'_> {
    /// Goes there, as by the address bar.
    pub(crate) fn go(&self, url: &str) {
        self.browser.must(Some(&self.session), "Page.navigate", &json!({"url": url}));
    }

    /// Goes there and waits until that page is shown.
    pub(crate) fn open(&self, url: &str) {
        self.go(url);
        self.await_url(url);
    }

    /// Waits until the page of that address is shown, and gives the status that it came with.
    pub(crate) fn await_url(&self, url: &str) -> u16 {
        let status = await_some(&format!("the page {url}"), || {
            let shown = "return [location.href, document.readyState, \
                         performance.getEntriesByType('navigation')[0]?.responseStatus]";
            // While it changes, a page runs no scripts.
            let shown = self.evaluate(shown).ok()?;
            (shown[0] == url && shown[1] == "complete").then(|| shown[2].as_u64().unwrap())
        });
        u16::try_from(status).unwrap()
    }

    /// What any page has written to its console so far, and what the browser said there: faults of scripts, and what a
    /// Content-Security-Policy forbade.
    pub(crate) fn console(&self) -> Vec<Value> {
        // What was said before an answer has come before it.
        self.run("return null");
        self.browser.talk.borrow().console.clone()
    }

    /// Shows it to a user who likes it `light` or `dark`, in a window of this size.
    pub(crate) fn looks(&self, scheme: &str, width: u32, height: u32) {
        let media = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.browser.must(Some(&self.session), "Emulation.setEmulatedMedia", &media);
        let size = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        self.browser.must(Some(&self.session), "Emulation.setDeviceMetricsOverride", &size);
    }

    /// A picture of all of it, PNG.
    pub(crate) fn picture(&self) -> Vec<u8> {
        let whole = json!({"format": "png", "captureBeyondViewport": true});
        let picture = self.browser.must(Some(&self.session), "Page.captureScreenshot", &whole);
        STANDARD.decode(picture["data"].as_str().unwrap()).unwrap()
    }

    /// What can be read on the page.
    pub(crate) fn text(&self) -> String {
        self.run("return document.body.innerText").as_str().unwrap().to_owned()
    }

    /// Runs the body of an async function in the page, as its own scripts, and gives what it returns.
    ///
    /// # Panics
    /// When it throws.
    pub(crate) fn run(&self, script: &str) -> Value {
        self.evaluate(script).unwrap_or_else(|error| panic!("{script}\n{error}"))
    }

    /// What a script of the page gets that fetches this: `status`, the `headers` that it may read, and `body`; or
    /// `error`, if it may not.
    pub(crate) fn fetch(&self, url: &str, options: &Value) -> Value {
        self.run(&format!(
            "try {{
                const answer = await fetch({}, {options});
                const headers = Object.fromEntries(answer.headers);
                return {{ status: answer.status, headers, body: await answer.text() }};
            }} catch (error) {{
                return {{ error: error.name }};
            }}",
            json!(url)
        ))
    }

    fn evaluate(&self, script: &str) -> Result<Value, String> {
        let expression = format!("(async () => {{ {script} }})()");
        let parameters = json!({"expression": expression, "awaitPromise": true, "returnByValue": true});
        let answer = self.browser.ask(Some(&self.session), "Runtime.evaluate", &parameters)?;
        match answer.get("exceptionDetails") {
            Some(details) => Err(details.to_string()),
            None => Ok(answer["result"]["value"].clone()),
        }
    }
}
