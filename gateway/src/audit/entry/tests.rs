use super::*;

fn entry() -> Entry<'static> {
    Entry {
        seq: 7,
        at: "2026-01-02T03:04:05.678901Z".parse().unwrap(),
        id: "0196f0a0-0000-7000-8000-000000000001".into(),
        user: "ann".into(),
        verb: "get".into(),
        resource: "pods".into(),
        status: Some(200),
        sent: Some(12),
        ..Entry::new(Phase::End)
    }
}

fn line() -> (Vec<u8>, Hash) {
    let mut line = Vec::new();
    let hash = entry().seal(&mut line);
    assert_eq!(line.pop(), Some(b'\n'));
    (line, hash)
}

#[test]
fn the_canonical_form_is_what_the_documentation_says() {
    let (line, hash) = line();
    let zeros = "0".repeat(64);
    let content = format!(
        "{{\"seq\":7,\"at\":\"2026-01-02T03:04:05.678Z\",\"id\":\"0196f0a0-0000-7000-8000-000000000001\",\"phase\":\"end\",\
         \"user\":\"ann\",\"verb\":\"get\",\"resource\":\"pods\",\"decision\":\"allow\",\"status\":200,\"sent\":12,\
         \"prev\":\"{zeros}\"}}"
    );
    let digest = aws_lc_rs::digest::digest(&SHA256, content.as_bytes());
    assert_eq!(hash.to_string(), hex::encode(digest));
    let content = content.strip_suffix('}').unwrap();
    assert_eq!(
        String::from_utf8(line).unwrap(),
        format!("{content},\"hash\":\"{hash}\"}}")
    );
}

#[test]
fn a_line_is_read_back_as_written() {
    let (line, hash) = line();
    let (read, named) = Entry::open(&line).unwrap();
    assert_eq!((named, number(&line)), (hash, Some(7)));
    let mut again = Vec::new();
    assert_eq!(read.seal(&mut again), hash);
    assert_eq!(again.strip_suffix(b"\n").unwrap(), line);
}

#[test]
fn no_byte_can_be_changed() {
    let (line, _) = line();
    for at in 0..line.len() {
        let mut changed = line.clone();
        changed[at] ^= 1;
        Entry::open(&changed).unwrap_err();
        let mut shorter = line.clone();
        shorter.remove(at);
        Entry::open(&shorter).unwrap_err();
        Entry::open(&line[..at]).unwrap_err();
    }
    let mut upper = line.clone();
    let digits = upper.len() - 66;
    upper[digits..].make_ascii_uppercase();
    assert_eq!(Entry::open(&upper).unwrap_err(), Unreadable::NotAnEntry);
}

#[test]
fn texts_are_cut_and_have_no_tokens() {
    assert!(matches!(text("pods"), Cow::Borrowed("pods")));
    let long = "é".repeat(400);
    let cut = text(&long);
    assert!(cut.len() <= MAX_TEXT && cut.ends_with('…'), "{cut}");
    assert_eq!(
        text("a/kta_0123_secret_crc/b kte_x?"),
        "a/[token removed]/b [token removed]?"
    );
    let many = "kta_".repeat(1000);
    assert!(!text(&many).contains("kta_"));
    // What a name could break out with is escaped.
    let mut entry = entry();
    entry.name = text("a\",\"hash\":\"x\n").into_owned().into();
    let mut line = Vec::new();
    entry.seal(&mut line);
    line.pop();
    assert_eq!(Entry::open(&line).unwrap().0.name, "a\",\"hash\":\"x\n");
    assert!(!line.contains(&b'\n'));
}
