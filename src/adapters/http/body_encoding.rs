//! How the bytes of a body are written: UTF-8, and not compressed. What is not gets an answer that
//! says so.

use axum::http::{HeaderMap, header};

use super::{problem::Problem, problem_code::Code};

/// What editors and other systems put before a text in UTF-8. It is passed over.
const UTF8_BOM: &[u8] = b"\xef\xbb\xbf";

/// Names under which UTF-8, or a part of it, goes.
const CHARSETS: [&str; 4] = ["utf-8", "utf8", "us-ascii", "ascii"];

/// Refuses what the headers say can't be read.
pub(super) fn check(headers: &HeaderMap, content_type: &str) -> Result<(), Problem> {
    let codings = headers.get_all(header::CONTENT_ENCODING).iter();
    let mut codings = codings
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii);
    if let Some(coding) =
        codings.find(|coding| !coding.is_empty() && !coding.eq_ignore_ascii_case(b"identity"))
    {
        return Err(compressed(&String::from_utf8_lossy(coding)));
    }
    match charset(content_type) {
        Some(charset) if !CHARSETS.iter().any(|known| known.eq_ignore_ascii_case(charset)) => {
            Err(unsupported(format!(
                "the charset `{charset}` is not supported: send UTF-8, and `charset=utf-8` or no charset in `Content-Type`"
            )))
        }
        _ => Ok(()),
    }
}

/// The text of a body or a line.
pub(super) fn without_bom(text: &[u8]) -> &[u8] {
    text.strip_prefix(UTF8_BOM).unwrap_or(text)
}

/// Why a text that is no JSON may be none: what its first bytes show.
pub(super) fn explain(text: &[u8]) -> Option<Problem> {
    match text {
        [0x1f, 0x8b, ..] => Some(compressed("gzip")),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Some(compressed("zstd")),
        [b'x', 0x01 | 0x5e | 0x9c | 0xda, ..] => Some(compressed("deflate")),
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => Some(utf16()),
        _ if text.iter().take(4).any(|byte| *byte == 0) => Some(utf16()),
        _ => None,
    }
}

fn charset(content_type: &str) -> Option<&str> {
    let mut parameters =
        content_type.split(';').skip(1).filter_map(|parameter| parameter.split_once('='));
    let (_, charset) = parameters.find(|(name, _)| name.trim().eq_ignore_ascii_case("charset"))?;
    Some(charset.trim().trim_matches('"'))
}

fn compressed(coding: &str) -> Problem {
    unsupported(format!(
        "the body is compressed ({coding}), which is not supported: send it as it is, without `Content-Encoding`"
    ))
}

fn utf16() -> Problem {
    unsupported(
        "the body is not UTF-8, but UTF-16 or UTF-32 by its first bytes: send UTF-8".to_owned(),
    )
}

fn unsupported(message: String) -> Problem {
    Problem::new(Code::UnsupportedEncoding, message)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn refusal(content_encodings: &[&str], content_type: &str) -> Option<String> {
        let mut headers = HeaderMap::new();
        for value in content_encodings {
            headers.append(header::CONTENT_ENCODING, HeaderValue::from_str(value).unwrap());
        }
        check(&headers, content_type).err().map(|problem| problem.message)
    }

    #[test]
    fn promise_11_an_encoding_that_can_not_be_read_is_named() {
        for codings in [
            &["gzip"][..],
            &["deflate"],
            &["br"],
            &["zstd"],
            &["identity, GZIP"],
            &["identity", "x-gzip"],
        ] {
            let message = refusal(codings, "application/json").unwrap();
            let named = codings.last().unwrap().rsplit(", ").next().unwrap();
            assert!(
                message.contains(named) && message.contains("without `Content-Encoding`"),
                "{message}"
            );
        }
        for charset in ["utf-16", "ISO-8859-1", "\"utf-16le\""] {
            let message = refusal(&[], &format!("application/json; charset={charset}")).unwrap();
            assert!(
                message.contains(charset.trim_matches('"')) && message.contains("send UTF-8"),
                "{message}"
            );
        }
        for content_type in [
            "application/json",
            "application/json;charset=UTF-8",
            "application/json; a=b; Charset=\"utf-8\"",
            "a; charset=us-ascii",
        ] {
            assert_eq!(refusal(&["identity", ""], content_type), None, "{content_type}");
        }
    }

    #[test]
    fn promise_11_bytes_that_are_no_utf8_text_are_recognised() {
        let utf16 =
            |order: fn(u16) -> [u8; 2]| "{}".encode_utf16().flat_map(order).collect::<Vec<u8>>();
        for (bytes, named) in [
            (b"\x1f\x8b\x08\0".to_vec(), "gzip"),
            (b"\x28\xb5\x2f\xfd\0".to_vec(), "zstd"),
            (b"x\x9c\xab".to_vec(), "deflate"),
            (utf16(u16::to_le_bytes), "UTF-16"),
            (utf16(u16::to_be_bytes), "UTF-16"),
            ([b"\xff\xfe".to_vec(), utf16(u16::to_le_bytes)].concat(), "UTF-16"),
            ([b"\xfe\xff".to_vec(), utf16(u16::to_be_bytes)].concat(), "UTF-16"),
            (b"\0".to_vec(), "UTF-16"),
        ] {
            let problem = explain(&bytes).unwrap();
            assert!(problem.message.contains(named), "{bytes:?}: {}", problem.message);
            assert_eq!(problem.status().as_u16(), 415);
        }
        for text in ["", "{", "nonsense", "{\"a\":1}", "x", "\u{e9}"] {
            assert!(explain(text.as_bytes()).is_none(), "{text}");
        }
        assert_eq!((without_bom(b"\xef\xbb\xbf{}"), without_bom(b"{}")), (&b"{}"[..], &b"{}"[..]));
    }
}
