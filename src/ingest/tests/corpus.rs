//! The kept fuzz corpora hold on the stable toolchain, and so do the cases they grew from.

#![allow(clippy::unwrap_used)] // a test fails by panicking

mod replay;

fn each_input(target: &str, check: fn(&[u8])) {
    let corpus = format!("{}/fuzz/corpus/{target}", env!("CARGO_MANIFEST_DIR"));
    let mut inputs = 0;
    let mut failed = Vec::new();
    for file in std::fs::read_dir(&corpus).unwrap() {
        let path = file.unwrap().path();
        let input = std::fs::read(&path).unwrap();
        if std::panic::catch_unwind(|| check(&input)).is_err() {
            failed.push(path.file_name().unwrap().to_owned());
        }
        inputs += 1;
    }
    assert!(failed.is_empty(), "these inputs fail: {failed:?}");
    assert!(inputs >= 20, "only {inputs} inputs in {corpus}");
}

#[test]
fn the_decoders_corpus_holds() {
    each_input("decoder", replay::decoder::check);
}

#[test]
fn the_encoders_corpus_holds() {
    each_input("encoder", replay::encoder::check);
}
