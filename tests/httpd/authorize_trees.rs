//! `Require` trees made by chance, against a small model of what httpd's documentation says of them.

use std::fmt::Write;

use serde_json::json;

use crate::harness::{MAIN, Request, Site};

/// What a line or a section says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Says {
    Yes,
    No,
    /// Not to somebody unknown.
    IfKnown,
    /// Nothing: what is negated never lets anybody in.
    Nothing,
}

#[derive(Debug)]
enum Tree {
    Line(usize),
    Not(usize),
    All(Vec<Tree>),
    Any(Vec<Tree>),
    None(Vec<Tree>),
}

struct Sender {
    /// Subject, scope, role.
    token: Option<(Option<&'static str>, &'static str, &'static str)>,
    from: &'static str,
}

const LINES: [&str; 12] = [
    "jwt-scope read",
    "jwt-scope write admin",
    "jwt-claim role admin",
    "jwt-claim role editor user",
    "jwt-issuer main",
    "jwt-client web",
    "valid-user",
    "user alice",
    "ip 127.0.0.66",
    "expr jwt('role') == 'admin'",
    "env LOCAL",
    "all denied",
];

/// What a line says to somebody.
fn says(line: usize, sender: &Sender) -> Says {
    let of = |yes| if yes { Says::Yes } else { Says::No };
    let far = sender.from == "127.0.0.66";
    match (line, sender.token) {
        (8, _) => of(far),
        (10, _) => of(!far),
        (11, _) | (9, None) => Says::No,
        (_, None) => Says::IfKnown,
        (0, Some((_, scope, _))) => of(scope.split(' ').any(|scope| scope == "read")),
        (1, Some((_, scope, _))) => of(scope.split(' ').any(|scope| scope == "write" || scope == "admin")),
        (2 | 9, Some((_, _, role))) => of(role == "admin"),
        (3, Some((_, _, role))) => of(role == "editor" || role == "user"),
        (4, Some(_)) => Says::Yes,
        (6 | 7, Some((None, ..))) => Says::IfKnown,
        (6, Some(_)) => Says::Yes,
        (7, Some((subject, ..))) => of(subject == Some("alice")),
        _ => Says::No,
    }
}

impl Tree {
    fn says(&self, sender: &Sender) -> Says {
        let negated = |says| if says == Says::Yes { Says::No } else { Says::Nothing };
        let any = |children: &[Self]| {
            let all: Vec<_> = children.iter().map(|child| child.says(sender)).collect();
            [Says::Yes, Says::IfKnown, Says::No].into_iter().find(|says| all.contains(says)).unwrap_or(Says::Nothing)
        };
        match self {
            Self::Line(line) => says(*line, sender),
            Self::Not(line) => negated(says(*line, sender)),
            Self::None(children) => negated(any(children)),
            Self::Any(children) => any(children),
            Self::All(children) => {
                let all: Vec<_> = children.iter().map(|child| child.says(sender)).collect();
                [Says::No, Says::IfKnown, Says::Yes]
                    .into_iter()
                    .find(|says| all.contains(says))
                    .unwrap_or(Says::Nothing)
            }
        }
    }

    fn write(&self, text: &mut String) {
        let (name, children) = match self {
            Self::Line(line) => return writeln!(text, "Require {}", LINES[*line]).unwrap(),
            Self::Not(line) => return writeln!(text, "Require not {}", LINES[*line]).unwrap(),
            Self::All(children) => ("RequireAll", children),
            Self::Any(children) => ("RequireAny", children),
            Self::None(children) => ("RequireNone", children),
        };
        writeln!(text, "<{name}>").unwrap();
        children.iter().for_each(|child| child.write(text));
        writeln!(text, "</{name}>").unwrap();
    }
}

/// SplitMix64: the same trees in every run.
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }

    fn line(&mut self) -> usize {
        usize::try_from(self.below(LINES.len() as u64)).unwrap()
    }

    /// What may let somebody in.
    fn tree(&mut self, depth: u32) -> Tree {
        match self.below(if depth == 0 { 1 } else { 5 }) {
            0 => Tree::Line(self.line()),
            1 | 2 => Tree::Any(self.trees(depth)),
            _ => {
                let mut children = self.trees(depth);
                match self.below(3) {
                    0 => children.push(Tree::Not(self.line())),
                    1 => children.insert(0, Tree::None(self.trees(depth))),
                    _ => {}
                }
                Tree::All(children)
            }
        }
    }

    fn trees(&mut self, depth: u32) -> Vec<Tree> {
        (0..=self.below(3)).map(|_| self.tree(depth - 1)).collect()
    }
}

#[test]
fn any_tree_decides_as_the_model_says() {
    const SENDERS: [Sender; 7] = [
        Sender { token: None, from: "127.0.0.1" },
        Sender { token: None, from: "127.0.0.66" },
        Sender { token: Some((Some("alice"), "read", "admin")), from: "127.0.0.1" },
        Sender { token: Some((Some("bob"), "write", "editor")), from: "127.0.0.1" },
        Sender { token: Some((Some("bob"), "", "guest")), from: "127.0.0.66" },
        Sender { token: Some((Some("alice"), "read admin", "user")), from: "127.0.0.66" },
        Sender { token: Some((None, "read", "admin")), from: "127.0.0.1" },
    ];
    let mut chance = Chance(7);
    let trees: Vec<_> = (0..80).map(|_| chance.tree(3)).collect();
    let mut directives = format!(
        "{MAIN}ProxyPass / ${{APP}}/\nSetEnvIf Remote_Addr \"^127\\.0\\.0\\.1$\" LOCAL\n\
         <Location />\nJwtGate on\nJwtGateToken optional\n</Location>\n"
    );
    for (i, tree) in trees.iter().enumerate() {
        writeln!(directives, "<Location /{i}/>").unwrap();
        tree.write(&mut directives);
        writeln!(directives, "</Location>").unwrap();
    }
    let mut server = Site::new().load(&["authz_user"]).start(&directives);
    server.expect_log("AH01630");
    let mut seen = [0; 3];
    for sender in &SENDERS {
        let token = sender.token.map(|(subject, scope, role)| {
            let token = server.token().claim("sub", json!(subject)).claim("scope", scope).claim("role", role);
            token.sign()
        });
        for (i, tree) in trees.iter().enumerate() {
            let request = server.get(&format!("/{i}/")).from(sender.from);
            let status = token.iter().fold(request, Request::bearer).status();
            let expected = match tree.says(sender) {
                Says::Yes => 200,
                Says::IfKnown if sender.token.is_none() => 401,
                _ => 403,
            };
            assert_eq!(status, expected, "{tree:?} from {} with {:?}", sender.from, sender.token);
            seen[[200, 401, 403].iter().position(|known| *known == status).unwrap()] += 1;
        }
    }
    assert!(seen.iter().all(|count| *count > 50), "{seen:?}");
}
