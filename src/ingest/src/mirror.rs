//! The offset mirror (the Airflow Variable): a copy for people, through which they may also ask
//! for a rewind. The truth stays in the offset row.

use crate::error::Error;
use crate::offsets::Offset;

/// Where a run starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// At the stored position.
    Stored,
    /// The stream has no offset yet: at this position, having seen this mirror.
    First { position: i64, mirrored: Option<i64> },
    /// A person changed the mirror: move there first.
    Seek { from: i64, to: i64 },
}

/// Decides from the stored offset and the mirror's text. The mirror asks for something only if it
/// shows neither what was last written to it nor what was written before that (a crash may have
/// come between recording and writing). A mirror that asks for the impossible is a `Config` error
/// and moves nothing.
pub(crate) fn decide(stored: Option<&Offset>, mirror: Option<&str>) -> Result<Start, Error> {
    let Some(stored) = stored else {
        let asked = mirror.and_then(number);
        if let (None, Some(text)) = (asked, mirror) {
            tracing::warn!("the offset mirror holds {text:?}, which is no offset; starting at 0");
        }
        return Ok(Start::First { position: asked.unwrap_or(0), mirrored: asked });
    };
    let Some(text) = mirror else { return Ok(Start::Stored) };
    let asked = number(text).ok_or_else(|| {
        Error::config(format!(
            "the offset mirror holds {text:?}, which is no offset; set it to a number from 0 to {} or delete it; nothing was moved",
            stored.high_water
        ))
    })?;
    if stored.mirrored.is_none()
        || Some(asked) == stored.mirrored
        || Some(asked) == stored.previously_mirrored
    {
        return Ok(Start::Stored);
    }
    // Before anything was committed there is no end that one could be beyond.
    if asked > stored.high_water && stored.epoch.is_some() {
        return Err(Error::config(format!(
            "the offset mirror asks for {asked}, beyond the last committed offset {}; set it to a smaller number or delete it; nothing was moved",
            stored.high_water
        )));
    }
    Ok(Start::Seek { from: stored.position, to: asked })
}

/// The same where offsets are our own count: the source knows nothing of them, so nobody can ask to
/// go on from one.
pub(crate) fn decide_counted(
    stored: Option<&Offset>,
    mirror: Option<&str>,
) -> Result<Start, Error> {
    match decide(stored, mirror.filter(|_| stored.is_some()))? {
        Start::Seek { from, to } => Err(Error::config(format!(
            "the offset mirror asks for {to}, but this stream's ids are no numbers and its offsets (now {from}) are only counted here; set it back to {from} or delete it; nothing was moved"
        ))),
        start => Ok(start),
    }
}

/// The offset that a mirror's text is, if it is one.
pub(crate) fn number(text: &str) -> Option<i64> {
    text.trim().parse().ok().filter(|n| *n >= 0)
}

/// Whether the mirror still shows what we wrote (or nothing), so that writing over it loses no
/// request that a person made during the run.
pub(crate) fn is_ours(stored: &Offset, mirror: Option<&str>) -> bool {
    let Some(text) = mirror else { return true };
    let shown = text.trim().parse::<i64>().ok();
    stored.mirrored.is_none()
        || (shown.is_some() && (shown == stored.mirrored || shown == stored.previously_mirrored))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored() -> Offset {
        Offset {
            epoch: Some("e".into()),
            position: 90,
            high_water: 100,
            highest: 100,
            mirrored: Some(90),
            previously_mirrored: Some(70),
            resume_token: None,
        }
    }

    #[test]
    fn without_an_offset_the_mirror_leads_if_it_can() {
        for (mirror, position, seen) in [
            (None, 0, None),
            (Some("12"), 12, Some(12)),
            (Some(" 12\n"), 12, Some(12)),
            (Some("twelve"), 0, None),
            (Some("-1"), 0, None),
        ] {
            assert_eq!(decide(None, mirror).unwrap(), Start::First { position, mirrored: seen });
        }
    }

    #[test]
    fn a_count_cannot_be_asked_for() {
        assert_eq!(
            decide_counted(None, Some("12")).unwrap(),
            Start::First { position: 0, mirrored: None }
        );
        assert_eq!(decide_counted(Some(&stored()), Some("70")).unwrap(), Start::Stored);
        let error = decide_counted(Some(&stored()), Some("10")).unwrap_err().to_string();
        assert!(
            error.contains("only counted here") && error.contains("nothing was moved"),
            "{error}"
        );
    }

    #[test]
    fn what_we_wrote_is_no_request() {
        for mirror in [None, Some("90"), Some("70")] {
            assert_eq!(decide(Some(&stored()), mirror).unwrap(), Start::Stored);
            assert!(is_ours(&stored(), mirror));
        }
    }

    #[test]
    fn anything_else_is_a_request_or_an_error() {
        assert_eq!(decide(Some(&stored()), Some("10")).unwrap(), Start::Seek { from: 90, to: 10 });
        assert_eq!(decide(Some(&stored()), Some("0")).unwrap(), Start::Seek { from: 90, to: 0 });
        assert!(!is_ours(&stored(), Some("10")));
        assert!(!is_ours(&stored(), Some("x")));
        for (mirror, part) in [("x", "\"x\""), ("-5", "\"-5\""), ("101", "beyond")] {
            let error = decide(Some(&stored()), Some(mirror)).unwrap_err();
            assert!(error.to_string().contains(part), "{error}");
            assert!(error.to_string().contains("nothing was moved"), "{error}");
        }
    }
}
