//! The guide: how long its chapters are, and where links lead that rustdoc does not check.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The longest chapter, in words without its code.
const MAX_WORDS: usize = 1200;
const DOCS_RS: &str = "https://docs.rs/tower-chunked-upload/latest/tower_chunked_upload/";

/// The sources, and the pages that link to the documentation.
const FOLDERS: [&str; 8] =
    ["src", "page", "serve", "servers", "uploader", "examples", "benches", "tests"];
const PAGES: [&str; 3] = ["README.md", "ARCHITECTURE.md", "CHANGELOG.md"];

fn read(path: impl AsRef<Path>) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The files below a folder, by their paths in the repository.
fn files(folder: &str) -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    let mut folders = vec![root.join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            match path.is_dir() {
                true if name != "target" && name != "node_modules" => folders.push(path),
                true => {}
                false => found.push(path.strip_prefix(root).unwrap().to_owned()),
            }
        }
    }
    found.sort();
    found
}

/// Each chapter's prose, by its name.
fn chapters() -> BTreeMap<String, String> {
    let names = files("src/guide").into_iter();
    let names = names.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned());
    let chapters = names.filter(|name| name != "mod" && name != "client");
    chapters.map(|name| (name.clone(), prose(&read(format!("src/guide/{name}.rs"))))).collect()
}

/// The lines of documentation in a source, without its code.
fn prose(source: &str) -> String {
    let mut prose = String::new();
    let mut is_code = false;
    for line in source.lines().map(str::trim_start) {
        // The first line of code that depends on a feature.
        is_code |= line.starts_with("#![cfg_attr") && line.contains("```");
        let Some(line) = line.strip_prefix("//!").or_else(|| line.strip_prefix("///")) else {
            continue;
        };
        if line.trim_start().starts_with("```") {
            is_code = !is_code;
        } else if !is_code {
            prose += line.strip_prefix(' ').unwrap_or(line);
            prose.push('\n');
        }
    }
    prose
}

/// The names that rustdoc gives to the headings.
fn anchors(prose: &str) -> Vec<String> {
    let headings = prose.lines().filter(|line| line.starts_with('#'));
    let headings = headings.filter_map(|line| line.trim_start_matches('#').strip_prefix(' '));
    headings.map(anchor).collect()
}

fn anchor(heading: &str) -> String {
    let letters = heading.chars().filter_map(|letter| match letter {
        ' ' => Some('-'),
        '-' | '_' => Some(letter),
        _ if letter.is_alphanumeric() => Some(letter.to_ascii_lowercase()),
        _ => None,
    });
    letters.collect()
}

/// The targets of the links.
fn links(prose: &str) -> Vec<&str> {
    let inline = prose.split("](").skip(1).filter_map(|link| link.split(')').next());
    let named = prose.lines().filter_map(|line| line.strip_prefix('[')?.split_once("]: "));
    inline.chain(named.map(|(_, target)| target)).collect()
}

/// The source of the page that a path of modules names.
fn page(from: &Path, path: &str) -> Option<PathBuf> {
    let mut file = match path.split("::").next()? {
        "" => return Some(from.to_owned()),
        "super" => from.parent()?.to_owned(),
        _ => PathBuf::from("src"),
    };
    let path = path.strip_prefix("super").or_else(|| path.strip_prefix("crate")).unwrap_or(path);
    let modules = path.split("::").filter(|module| !module.is_empty());
    file.extend(modules);
    let exists = |file: &PathBuf| Path::new(env!("CARGO_MANIFEST_DIR")).join(file).is_file();
    let places = [file.join("lib.rs"), file.join("mod.rs"), file.with_extension("rs")];
    places.into_iter().find(exists)
}

#[test]
fn no_chapter_is_too_long() {
    for (name, prose) in chapters() {
        let words = prose.split_whitespace();
        let words = words.filter(|word| word.contains(char::is_alphanumeric)).count();
        println!("{words:5} {name}");
        assert!(words <= MAX_WORDS, "{name} has {words} words: split it");
    }
}

#[test]
fn each_chapter_begins_with_one_sentence() {
    for (name, prose) in chapters() {
        let first = prose.split("\n\n").next().unwrap();
        assert!(first.ends_with('.') && !first.contains(". "), "{name}: {first}");
    }
}

#[test]
fn no_heading_is_twice_in_a_chapter() {
    for (name, prose) in chapters() {
        let mut all = anchors(&prose);
        all.sort();
        let count = all.len();
        all.dedup();
        assert_eq!(all.len(), count, "{name}: rustdoc numbers headings that are the same");
    }
}

#[test]
fn links_lead_to_headings() {
    let mut count = 0;
    for file in files("src").into_iter().filter(|file| file.extension() == Some("rs".as_ref())) {
        let prose = prose(&read(&file));
        for link in links(&prose).into_iter().filter(|link| !link.contains("//")) {
            let Some((path, fragment)) = link.split_once('#') else { continue };
            let page = page(&file, path).unwrap_or_else(|| panic!("{}: {link}", file.display()));
            let there = anchors(&self::prose(&read(page))).iter().any(|it| it == fragment);
            assert!(there, "{}: {link} leads nowhere", file.display());
            count += 1;
        }
    }
    assert!(count > 40, "{count} links are too few: were they read?");
}

#[test]
fn links_to_the_published_guide_lead_to_headings() {
    let chapters = chapters();
    let guide = format!("{DOCS_RS}guide/");
    let sources = FOLDERS.into_iter().flat_map(files);
    for file in PAGES.into_iter().map(PathBuf::from).chain(sources) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(&file);
        let Ok(text) = fs::read_to_string(path) else { continue };
        for link in text.split(&guide).skip(1) {
            let end =
                link.find(|letter: char| !letter.is_alphanumeric() && !"_/#-.".contains(letter));
            let link = &link[..end.unwrap_or(link.len())];
            let (chapter, fragment) = link.split_once('#').unwrap_or((link, ""));
            let chapter = chapter.trim_end_matches("index.html").trim_end_matches(['/', '.']);
            let chapter = chapters.get(chapter);
            let chapter = chapter.unwrap_or_else(|| panic!("{}: {link}", file.display()));
            let is_there = fragment.is_empty() || anchors(chapter).iter().any(|it| it == fragment);
            assert!(is_there, "{}: {link} leads nowhere", file.display());
        }
    }
}

#[test]
fn the_tables_have_each_chapter_once() {
    let rows = |text: &str, before: &str| -> Vec<[String; 3]> {
        let rows = text.lines().filter_map(|row| row.strip_prefix("| [")?.split_once(before));
        let rows = rows.map(|(title, rest)| {
            let (name, question) = rest.split_once(") | ").unwrap();
            [name.trim_end_matches('/'), title, question].map(str::to_owned)
        });
        rows.collect()
    };
    let page = rows(&prose(&read("src/lib.rs")), "](guide::");
    let readme = rows(&read("README.md"), &format!("]({DOCS_RS}guide/"));
    assert_eq!(page, readme);
    let mut names: Vec<_> = page.into_iter().map(|[name, ..]| name).collect();
    names.sort();
    assert_eq!(names, chapters().into_keys().collect::<Vec<_>>());
}

/// A setting is a method that takes the builder and gives it back.
#[test]
fn each_setting_is_in_the_table() {
    let table = read("src/guide/settings.rs");
    let builders = [
        ("store::FsStore", "src/store/fs/mod.rs"),
        ("store::BucketStoreBuilder", "src/store/bucket/builder.rs"),
        ("UploadsBuilder", "src/engine/builder.rs"),
        ("ChunkedUploadLayer", "src/layer.rs"),
        ("ChunkedUploadLayer", "src/dialects.rs"),
        ("Chunked", "src/protocol/chunked/config.rs"),
        ("Tus", "src/protocol/tus/config.rs"),
        ("Resumable", "src/protocol/resumable/config.rs"),
        ("LongCompletions", "src/protocol/completions.rs"),
    ];
    for (builder, file) in builders {
        let source = read(file);
        let methods: Vec<_> = source.split("    pub fn ").skip(1).collect();
        assert!(!methods.is_empty(), "{file}");
        for method in methods {
            let (name, rest) = method.split_once('(').unwrap();
            let name = name.split('<').next().unwrap();
            let (head, _) = rest.split_once('{').unwrap();
            if head.trim_start().starts_with("mut self") && head.contains("-> Self") {
                let link = format!("(crate::{builder}::{name})");
                assert!(table.contains(&link), "{file}: {link} is missing in the table");
            }
        }
    }
}

#[test]
fn the_readme_and_the_crate_promise_the_same() {
    let promises = |text: &str| -> Vec<String> {
        let (_, rest) = text.split_once("# What it promises").unwrap();
        let lines = rest.lines().skip(2).take_while(|line| !line.is_empty());
        // A link of rustdoc is its text in the README.
        let text = lines.collect::<Vec<_>>().join(" ").replace("[`", "`").replace("`]", "`");
        let text = text.split('(').map(|part| match part.split_once(')') {
            Some((link, rest)) if link.contains("::") => rest.to_owned(),
            _ => format!("({part}"),
        });
        let text = text.collect::<String>();
        let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
        words.split(" - ").map(str::to_owned).collect()
    };
    let readme = promises(&read("README.md"));
    assert!(readme.len() > 5, "{readme:?}");
    assert_eq!(readme, promises(&prose(&read("src/lib.rs"))));
}

#[test]
fn what_the_architecture_says_of_chapters_is_there() {
    let text = read("ARCHITECTURE.md");
    for name in text.split("guide/").skip(1).filter_map(|rest| rest.split_once(".rs")) {
        let (name, _) = name;
        let is_name = name.chars().all(|letter| letter.is_alphanumeric() || letter == '_');
        assert!(!is_name || chapters().contains_key(name), "there is no chapter {name}");
    }
}

#[test]
fn the_page_of_tests_names_each_program() {
    let page = read("tests/README.md");
    let mut count = 0;
    for (folder, shown) in [("tests", ""), ("servers/tests", "../servers/tests/")] {
        for path in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)).unwrap() {
            let path = path.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            let name = match path.join("main.rs").is_file() {
                true => format!("`{shown}{name}/"),
                false if name.ends_with(".rs") => format!("`{shown}{name}`"),
                false => continue,
            };
            assert!(page.contains(&name), "{folder} has {name}");
            count += 1;
        }
    }
    assert!(count > 40, "{count} programs are too few: were they found?");
}

#[test]
fn headings_become_anchors_as_in_rustdoc() {
    for (heading, expected) in [
        ("As a router's own layer", "as-a-routers-own-layer"),
        ("What about cross-site requests (CSRF)?", "what-about-cross-site-requests-csrf"),
        ("Why around the router, and not `.layer(…)`?", "why-around-the-router-and-not-layer"),
        ("jQuery-File-Upload", "jquery-file-upload"),
    ] {
        assert_eq!(anchor(heading), expected);
    }
}
