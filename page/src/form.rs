//! Files from a page without JavaScript: an HTML form, one request, one page in words.

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{MethodRouter, get};
use serde_json::Value;
use tower::ServiceExt;

/// Why the file was not taken.
struct Refused {
    status: StatusCode,
    code: String,
    reason: String,
}

/// The route of the form. `app` has the layer and a handler for finished files, which answers with
/// the `name` of the file and with `saved_as`, its name on the disk. Who comes back to the address
/// of the answer is sent to the form.
pub fn route(app: Router) -> MethodRouter {
    get(async || Redirect::to("/")).post(whole_file).with_state(app)
}

/// What the handler says of a file that was taken.
struct Taken {
    name: String,
    saved_as: String,
}

/// Sends the request to `app` as an upload of one chunk, and then completes the upload.
async fn whole_file(State(app): State<Router>, request: Request) -> impl IntoResponse {
    let (head, body) = request.into_parts();
    match upload(&app, head, body).await {
        Ok(Taken { name, saved_as }) => {
            let words = format!(
                "“{}” has arrived. It is saved on the server as “{}”.",
                apart(&name),
                apart(&saved_as)
            );
            (StatusCode::OK, page("File sent", &words, "Send another file"))
        }
        Err(Refused { status, code, reason }) => {
            let words = match &*code {
                "no-file" => "No file was chosen. Go back and choose one.".to_owned(),
                _ => format!("The file was not taken. {}.", escaped(&in_units(&reason))),
            };
            (status, page("File not sent", &words, "Go back"))
        }
    }
}

/// A page with a way back. The words are HTML.
fn page(title: &str, words: &str, back: &str) -> impl IntoResponse + use<> {
    crate::html(format!(
        r#"<!doctype html>
<html lang="en">
  <head>
    <meta charset="utf-8">
    <meta name="viewport" content="width=device-width, initial-scale=1">
    <meta name="color-scheme" content="light dark">
    <title>{title}</title>
    <link rel="icon" href="data:,">
    <link rel="stylesheet" href="/page.css">
  </head>
  <body>
    <main>
      <h1>{title}</h1>
      <p class="answer">{words}</p>
      <p class="answer"><a href="/">{back}</a></p>
    </main>
  </body>
</html>
"#
    ))
}

/// A name as HTML: nothing in it is hidden, and right-to-left letters do not move what is around it.
/// `words.js` does the same.
fn apart(name: &str) -> String {
    let shown = name.chars().map(|c| match c {
        hidden if is_hidden(hidden) => {
            format!(r#"<span class="mark">⟨U+{:04X}⟩</span>"#, u32::from(hidden))
        }
        seen => escaped(seen.encode_utf8(&mut [0; 4])),
    });
    format!("<bdi>{}</bdi>", shown.collect::<String>())
}

/// Whether a character is invisible, or changes how text around it looks.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{feff}' | '\u{ffa0}'
            | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}')
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// A reason with its limit in a unit for people, as `inUnits` of `words.js`.
fn in_units(reason: &str) -> String {
    let parts = reason.split_once('(').and_then(|(before, rest)| {
        let (count, after) = rest.split_once(" bytes)")?;
        Some((before, count.parse().ok()?, after))
    });
    parts.map_or_else(
        || reason.to_owned(),
        |(before, count, after)| format!("{before}({}){after}", size(count)),
    )
}

/// As `bytes` of `words.js`: what would be rounded to 1000 of a unit is 1 of the next.
fn size(count: u64) -> String {
    if count == 1 {
        return "1\u{a0}byte".to_owned();
    }
    let units = ["bytes", "kB", "MB", "GB", "TB"];
    let (mut unit, mut amount) = (0, count as f64);
    while amount >= 999.5 && unit + 1 < units.len() {
        (unit, amount) = (unit + 1, amount / 1000.0);
    }
    let digits = match unit > 0 && amount < 99.95 {
        true => format!("{amount:.1}"),
        false => format!("{amount:.0}"),
    };
    let digits = digits.strip_suffix(".0").unwrap_or(&digits);
    format!("{digits}\u{a0}{}", units[unit])
}

async fn upload(app: &Router, head: Parts, body: Body) -> Result<Taken, Refused> {
    // The later requests are from the same user, with the same credentials.
    let mut later = head.clone();
    later.headers.remove(header::CONTENT_LENGTH);
    later.headers.remove(header::TRANSFER_ENCODING);
    let form = HeaderValue::from_static("application/x-www-form-urlencoded");
    later.headers.insert(header::CONTENT_TYPE, form);

    let received = answer(app, Method::POST, CHUNKS, head, body).await?;
    let id = format!("upload_id={}", text(&received, "upload_id"));
    let completed = answer(app, Method::POST, COMPLETE, later.clone(), id.clone().into()).await;
    if completed.is_err() {
        // Nobody would continue it.
        let upload = format!("{CHUNKS}?{id}");
        drop(answer(app, Method::DELETE, &upload, later, Body::empty()).await);
    }
    let answer = completed?;
    Ok(Taken { name: text(&answer, "name"), saved_as: text(&answer, "saved_as") })
}

async fn answer(
    app: &Router,
    method: Method,
    uri: &str,
    mut head: Parts,
    body: Body,
) -> Result<Value, Refused> {
    head.method = method;
    head.uri = uri.parse().unwrap_or_default();
    let response: Response = match app.clone().oneshot(Request::from_parts(head, body)).await {
        Ok(response) => response,
        Err(never) => match never {},
    };
    let (head, body) = response.into_parts();
    let body = to_bytes(body, 64 * 1024).await.unwrap_or_default();
    let answer: Value = serde_json::from_slice(&body).unwrap_or_default();
    if head.status.is_success() {
        return Ok(answer);
    }
    let reason = answer["detail"].as_str().unwrap_or("The server has a problem").to_owned();
    Err(Refused { status: head.status, code: text(&answer, "code"), reason })
}

fn text(answer: &Value, key: &str) -> String {
    answer[key].as_str().unwrap_or_default().to_owned()
}

const CHUNKS: &str = "/api/chunked_upload";
const COMPLETE: &str = "/api/chunked_upload_complete";

#[cfg(test)]
mod tests {
    use super::{apart, in_units};

    #[test]
    fn nothing_hides_in_a_name() {
        assert_eq!(apart("a<b>&\"c\".txt"), "<bdi>a&lt;b&gt;&amp;&quot;c&quot;.txt</bdi>");
        let turned = r#"<bdi>invoice<span class="mark">⟨U+202E⟩</span>gpj.exe</bdi>"#;
        assert_eq!(apart("invoice\u{202e}gpj.exe"), turned);
    }

    #[test]
    fn a_limit_is_told_in_units() {
        for (reason, told) in [
            ("no room", "no room"),
            ("the limit (1000000 bytes)", "the limit (1\u{a0}MB)"),
            ("the limit (21474836480 bytes)", "the limit (21.5\u{a0}GB)"),
            ("the limit (999 bytes)", "the limit (999\u{a0}bytes)"),
            ("the limit (999960 bytes)", "the limit (1\u{a0}MB)"),
            ("the limit (123456789 bytes)", "the limit (123\u{a0}MB)"),
            ("the limit (many bytes)", "the limit (many bytes)"),
        ] {
            assert_eq!(in_units(reason), told);
        }
    }
}
