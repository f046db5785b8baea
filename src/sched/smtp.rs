//! A message to a mail server (RFC 5321), as the original sends it: in clear, without authentication, meant for the relay
//! of the site. Every reply is bounded in size and time.

use std::fmt;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use bstr::ByteSlice;

use super::Mail;

/// For each step.
const PATIENCE: Duration = Duration::from_secs(30);
/// For all of it: the run counts as going on meanwhile.
const WHOLE: Duration = Duration::from_secs(120);
/// Bytes of a reply.
const REPLY: usize = 8 << 10;
/// Bytes that are written at a time.
const PIECE: usize = 16 << 10;
/// Bytes of a line of the message; the standard allows 998.
const LINE: usize = 990;

/// `smtpserver`: a host, with a port if it is not 25.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    host: String,
    port: u16,
}

impl Server {
    /// `HOST`, `HOST:PORT` or `[ADDRESS]:PORT`; `None` = it is no such thing.
    pub fn parse(text: &str) -> Option<Server> {
        let text = text.trim();
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (host, port) = rest.split_once(']')?;
                (host, port.strip_prefix(':').or(port.is_empty().then_some("25"))?)
            }
            None => text.split_once(':').unwrap_or((text, "25")),
        };
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
        if host.is_empty() || host.len() > 255 || host.starts_with('-') || !host.chars().all(fits) {
            return None;
        }
        Some(Server {
            host: host.to_string(),
            port: port.parse().ok()?,
        })
    }
}

impl Server {
    /// Whether it is the mail service of this very host, which sendmail(8) hands mail to without a connection.
    pub(super) fn is_here(&self) -> bool {
        self.port == 25 && ["localhost", "127.0.0.1", "::1"].contains(&self.host.as_str())
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.port, self.host.contains(':')) {
            (25, false) => f.write_str(&self.host),
            (25, true) => write!(f, "[{}]", self.host),
            (port, false) => write!(f, "{}:{port}", self.host),
            (port, true) => write!(f, "[{}]:{port}", self.host),
        }
    }
}

/// Gives a message to a server. The error is one clause: what the server said, or what went wrong.
pub(super) fn send(server: &Server, host: &str, mail: &Mail) -> Result<(), String> {
    send_until(server, host, mail, Instant::now() + WHOLE)
}

fn send_until(server: &Server, host: &str, mail: &Mail, end: Instant) -> Result<(), String> {
    let stream = connect(server, end).map_err(|error| error.to_string())?;
    let reader = stream.try_clone().map_err(|error| error.to_string())?;
    let mut talk = Talk {
        reader: BufReader::new(reader),
        stream,
        end,
    };
    talk.expect(220, "the greeting")?;
    talk.say(&format!("HELO {host}"), 250)?;
    talk.say(&format!("MAIL FROM:<{}>", bare(&mail.from)?), 250)?;
    for to in mail.to.split(',').filter(|to| !to.trim().is_empty()) {
        talk.say(&format!("RCPT TO:<{}>", bare(to)?), 250)?;
    }
    talk.say("DATA", 354)?;
    talk.write(&dotted(&mail.text))?;
    talk.expect(250, "the message")?;
    // The message is theirs now, whatever comes of the farewell.
    let _ = talk.say("QUIT", 221);
    Ok(())
}

/// How long a step may take that has to be over by then; nothing where that is past.
fn time_left(end: Instant) -> Option<Duration> {
    let left = end.saturating_duration_since(Instant::now()).min(PATIENCE);
    (!left.is_zero()).then_some(left)
}

fn connect(server: &Server, end: Instant) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    for address in (server.host.as_str(), server.port).to_socket_addrs()? {
        let Some(left) = time_left(end) else { break };
        match TcpStream::connect_timeout(&address, left) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

struct Talk {
    stream: TcpStream,
    reader: BufReader<TcpStream>,
    end: Instant,
}

impl Talk {
    /// The time for the next system call. A server that takes or gives a byte at a time has no more than the others.
    fn left(&self) -> Result<Option<Duration>, String> {
        time_left(self.end).map(Some).ok_or("it takes too long".to_string())
    }

    fn write(&mut self, mut bytes: &[u8]) -> Result<(), String> {
        while !bytes.is_empty() {
            let left = self.left()?;
            let piece = &bytes[..bytes.len().min(PIECE)];
            let timed = self.stream.set_write_timeout(left);
            match timed.and_then(|()| self.stream.write(piece)) {
                Ok(0) => return Err("it hung up".to_string()),
                Ok(count) => bytes = &bytes[count..],
                Err(error) => silent_or(error)?,
            }
        }
        Ok(())
    }

    /// A line with its end, of at most `most` bytes.
    fn line(&mut self, most: usize) -> Result<Vec<u8>, String> {
        let mut line = Vec::new();
        while !line.ends_with(b"\n") {
            let left = self.left()?;
            let timed = self.stream.set_read_timeout(left);
            let (got, room) = match timed.and_then(|()| self.reader.fill_buf()) {
                Ok(got) => (got, most - line.len()),
                Err(error) => {
                    silent_or(error)?;
                    continue;
                }
            };
            if got.is_empty() || room == 0 {
                return Err("it hung up, or its reply has no end".to_string());
            }
            let end = got.find_byte(b'\n').map_or(got.len(), |at| at + 1).min(room);
            line.extend_from_slice(&got[..end]);
            self.reader.consume(end);
        }
        Ok(line)
    }

    fn say(&mut self, line: &str, wanted: u16) -> Result<(), String> {
        self.write(format!("{line}\r\n").as_bytes())?;
        self.expect(wanted, line)
    }

    /// Reads a reply, which may have several lines. `251` (it will be forwarded) is as good as `250`.
    fn expect(&mut self, wanted: u16, to: &str) -> Result<(), String> {
        let mut left = REPLY;
        loop {
            let line = self.line(left)?;
            left -= line.len();
            if line.get(3) == Some(&b'-') {
                continue;
            }
            let code = line.get(..3).and_then(|code| code.to_str().ok()?.parse::<u16>().ok());
            return match code {
                Some(code) if code == wanted || (code == 251 && wanted == 250) => Ok(()),
                _ => {
                    let said = crate::log::clean(&line.trim_end().to_str_lossy());
                    Err(format!("it answers {to} with '{said}'"))
                }
            };
        }
    }
}

/// What a failed system call means; one that was interrupted is made again.
fn silent_or(error: io::Error) -> Result<(), String> {
    match error.kind() {
        io::ErrorKind::Interrupted => Ok(()),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Err("it does not answer".to_string()),
        _ => Err(error.to_string()),
    }
}

/// The address of `Name <address>`, or what stands there; nothing that could be another command.
fn bare(text: &str) -> Result<&str, String> {
    let inner = match (text.find('<'), text.rfind('>')) {
        (Some(from), Some(to)) if from < to => &text[from + 1..to],
        _ => text.trim(),
    };
    let odd = |c: char| c.is_control() || c.is_whitespace() || matches!(c, '<' | '>');
    if inner.is_empty() || inner.contains(odd) {
        return Err(format!("{text:?} is no mail address"));
    }
    Ok(inner)
}

/// The message as it travels: lines end with CR LF, are not too long, and none is a lone dot but the last.
fn dotted(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + text.len() / 32);
    for line in ByteSlice::lines(text) {
        let mut pieces = line.chunks(LINE);
        let mut next = Some(pieces.next().unwrap_or_default());
        while let Some(piece) = next {
            if piece.starts_with(b".") {
                out.push(b'.');
            }
            out.extend(piece.iter().map(|byte| if *byte == b'\r' { b' ' } else { *byte }));
            out.extend_from_slice(b"\r\n");
            next = pieces.next();
        }
    }
    out.extend_from_slice(b".\r\n");
    out
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread::{JoinHandle, spawn};

    use super::*;

    /// A mail server for one message, which says what it heard. It answers this command with a refusal.
    fn relay(refuse: &'static str) -> (Server, JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = Server::parse(&format!("127.0.0.1:{port}")).unwrap();
        let heard = spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let reader = BufReader::new(stream.try_clone().unwrap());
            stream.write_all(b"220-relay\r\n220 ready\r\n").unwrap();
            let mut heard = Vec::new();
            let mut data = false;
            for line in reader.lines() {
                let Ok(line) = line else { break };
                let answer = match line.as_str() {
                    "." if data => {
                        data = false;
                        "250 taken"
                    }
                    _ if data => "",
                    word if !refuse.is_empty() && word.starts_with(refuse) => "550 not here",
                    "DATA" => {
                        data = true;
                        "354 go on"
                    }
                    "QUIT" => "221 bye",
                    _ => "250 ok",
                };
                heard.push(line);
                if !answer.is_empty() {
                    stream.write_all(format!("{answer}\r\n").as_bytes()).unwrap();
                }
            }
            heard
        });
        (server, heard)
    }

    fn mail(text: &str) -> Mail {
        Mail {
            from: "cfengine@c1.example.com".into(),
            to: "root@example.com, Ann <ann@example.com>".into(),
            text: text.into(),
        }
    }

    #[test]
    fn a_message_arrives_whole_with_its_dots() {
        let (server, heard) = relay("");
        send(&server, "c1.example.com", &mail("Subject: x\n\n.\n.two\nend\n")).unwrap();
        let wanted = [
            "HELO c1.example.com",
            "MAIL FROM:<cfengine@c1.example.com>",
            "RCPT TO:<root@example.com>",
            "RCPT TO:<ann@example.com>",
            "DATA",
            "Subject: x",
            "",
            "..",
            "..two",
            "end",
            ".",
            "QUIT",
        ];
        assert_eq!(heard.join().unwrap(), wanted);
    }

    #[test]
    fn a_server_that_says_a_byte_at_a_time_has_no_more_time_than_others() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Server::parse(&listener.local_addr().unwrap().to_string()).unwrap();
        let drip = spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            for _ in 0..100 {
                if stream.write_all(b"2").is_err() {
                    break;
                }
                std::thread::sleep(Duration::from_millis(50));
            }
        });
        let end = Instant::now() + Duration::from_millis(300);
        let why = send_until(&server, "c1", &mail("x"), end).unwrap_err();
        assert!(
            ["it takes too long", "it does not answer"].contains(&why.as_str()),
            "{why}"
        );
        drip.join().unwrap();
    }

    #[test]
    fn a_server_that_takes_nothing_of_a_message_is_given_up() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let mut talk = Talk {
            reader: BufReader::new(stream.try_clone().unwrap()),
            stream,
            end: Instant::now() + Duration::from_millis(300),
        };
        let why = talk.write(&vec![b'x'; 64 << 20]).unwrap_err();
        assert!(
            ["it takes too long", "it does not answer"].contains(&why.as_str()),
            "{why}"
        );
    }

    #[test]
    fn a_refusal_is_told_in_the_words_of_the_server() {
        let (server, heard) = relay("RCPT");
        let why = send(&server, "c1", &mail("x")).unwrap_err();
        assert_eq!(why, "it answers RCPT TO:<root@example.com> with '550 not here'");
        assert_eq!(heard.join().unwrap().last().unwrap(), "RCPT TO:<root@example.com>");
    }

    #[test]
    fn a_long_line_is_broken_and_addresses_cannot_be_commands() {
        let body = dotted(&[b'x'; 3000]);
        assert!(body.split_str("\r\n").all(|line| line.len() <= LINE));
        assert_eq!(bare("A <a@b>"), Ok("a@b"));
        assert!(bare("a@b>\r\nQUIT").is_err() && bare("a b").is_err() && bare("").is_err());
        for (text, wanted) in [("[::1]", "[::1]"), ("[::1]:26", "[::1]:26"), ("h", "h"), ("h:25", "h")] {
            assert_eq!(Server::parse(text).unwrap().to_string(), wanted);
        }
        for text in ["", "h:", "h:x", "-h", "a b", "[::1"] {
            assert_eq!(Server::parse(text), None, "{text}");
        }
    }
}
