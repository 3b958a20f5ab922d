//! Values of seed files, read: what is literal, what refers to a row, what is made. Nothing is contacted.

use std::path::{Component, Path, PathBuf};

use jiff::Timestamp;
use serde_json::{Number, Value as Json, json};
use uuid::Uuid;

use super::encrypted::Encrypted;
use super::ids::Origin;
use super::made::{self, CUID2_LENGTH, Form};
use super::outside;
use super::references::{Names, Reference};
use super::terms::Term;
use super::transforms::{self, NAMES, Password};
use crate::config::Variables;
use crate::engine::tenant::Tenant;
use crate::error::{Code, Error, Place, Result};
use crate::kind::StoreKind;
use crate::project::seed::{Field, Node, NodeKind, nearest};
use crate::secret::Secret;

/// The most bytes of a file that becomes one value.
const FILE_BYTES: u64 = 16 << 20;
/// What a text of a tenant's seeds holds in place of the tenant's key, and of its slug.
const KEY: &str = "{{tenant}}";
const SLUG: &str = "{{tenant.slug}}";

/// What reading the values of a row needs.
#[derive(Clone, Copy)]
pub struct Reader<'a> {
    /// The rows that can be referred to.
    pub names: &'a Names,
    /// The variables in force.
    pub variables: &'a Variables,
    /// The instant of the run: one for all rows.
    pub now: Timestamp,
    /// The tenant that the run is for.
    pub tenant: Option<&'a Tenant>,
    /// The project's root.
    pub root: &'a Path,
    /// What ids that follow from names follow from.
    pub origin: Origin<'a>,
    /// The row's name.
    pub row: &'a str,
}

/// A transform as it is written: its name, its value, and what stands beside them.
struct Call<'a> {
    name: &'a str,
    node: &'a Node,
    beside: Vec<(&'a str, &'a Node)>,
}

impl Call<'_> {
    fn option(&self, name: &str) -> Option<&Node> {
        self.beside.iter().find(|(other, _)| *other == name).map(|(_, node)| *node)
    }
}

impl Reader<'_> {
    /// Reads a field's value.
    ///
    /// # Errors
    /// `LYX-SEED-REFERENCE`, or `LYX-SEED-FILE` for a transform that cannot be used, with its place.
    pub fn read(&self, field: &Field) -> Result<Term> {
        self.node(field, &field.node)
    }

    fn store(&self) -> StoreKind {
        self.origin.store
    }

    fn node(&self, field: &Field, node: &Node) -> Result<Term> {
        Ok(match &node.kind {
            NodeKind::Float(value, digits) => match Number::from_f64(*value) {
                Some(number) => Term::Digits(number, digits.replace('_', "")),
                None => Term::Literal(self.plain(field, node)?),
            },
            NodeKind::Text(text) => match text.strip_prefix('@') {
                Some(rest) if rest.starts_with('@') => Term::Literal(json!(self.fill(field, node, rest)?)),
                Some(rest) => self.reference(field, node, rest)?,
                None => Term::Literal(json!(self.fill(field, node, text)?)),
            },
            NodeKind::List(items) => {
                Term::List(items.iter().map(|item| self.node(field, item)).collect::<Result<_>>()?)
            }
            NodeKind::Table(entries) => match call(field, node, entries)? {
                Some(call) => self.transform(field, node, &call)?,
                None => Term::Table(self.entries(field, entries)?, false),
            },
            NodeKind::Bool(_) | NodeKind::Integer(_) | NodeKind::Date(_) => Term::Literal(self.plain(field, node)?),
        })
    }

    fn entries(&self, field: &Field, entries: &[(String, Node)]) -> Result<Vec<(String, Term)>> {
        entries.iter().map(|(name, node)| Ok((name.clone(), self.node(field, node)?))).collect()
    }

    /// A value as it is written: no references, no transforms.
    fn plain(&self, field: &Field, node: &Node) -> Result<Json> {
        Ok(match &node.kind {
            NodeKind::Bool(value) => json!(value),
            NodeKind::Integer(value) => json!(value),
            NodeKind::Float(value, digits) => match Number::from_f64(*value) {
                Some(number) => Json::Number(number),
                None if self.store() == StoreKind::Mongodb => {
                    let word = if value.is_nan() {
                        "NaN"
                    } else if *value > 0.0 {
                        "Infinity"
                    } else {
                        "-Infinity"
                    };
                    json!({ "$numberDouble": word })
                }
                None => json!(digits),
            },
            NodeKind::Date(date) => self.date(field, node, date)?,
            NodeKind::Text(text) => json!(text),
            NodeKind::List(items) => {
                Json::Array(items.iter().map(|item| self.plain(field, item)).collect::<Result<_>>()?)
            }
            NodeKind::Table(entries) => Json::Object(
                entries
                    .iter()
                    .map(|(name, node)| Ok((name.clone(), self.plain(field, node)?)))
                    .collect::<Result<_>>()?,
            ),
        })
    }

    /// A text with the tenant's names in it.
    fn fill(&self, field: &Field, node: &Node, text: &str) -> Result<String> {
        if !text.contains(KEY) && !text.contains(SLUG) {
            return Ok(text.to_owned());
        }
        let tenant = self.tenant_of_run(field, node)?;
        Ok(text.replace(SLUG, tenant.slug()).replace(KEY, tenant.key()))
    }

    fn tenant_of_run(&self, field: &Field, node: &Node) -> Result<&Tenant> {
        self.tenant.ok_or_else(|| {
            Error::new(Code::SeedFile, "a value stands for the tenant, and this run is for none")
                .at(field.place_of(node))
                .data("nothing was changed")
                .hint("lyrox db seed --tenant KEY; the text itself is written { literal = \"...\" }")
        })
    }

    fn reference(&self, field: &Field, node: &Node, text: &str) -> Result<Term> {
        if text == "tenant" {
            return Ok(Term::Literal(json!(self.tenant_of_run(field, node)?.key())));
        }
        Ok(Term::Reference(self.names.resolve(self.store(), text, field.place_of(node))?))
    }

    fn transform(&self, field: &Field, whole: &Node, call: &Call<'_>) -> Result<Term> {
        let name = call.name;
        let refuse = |why: String| {
            // The value may be a password that is not known as one: the line is not shown.
            let place = Place { text: None, ..field.place_of(whole) };
            Error::new(Code::SeedFile, format!("`{{ {name} = ... }}` cannot be used"))
                .why(why)
                .at(place)
                .data("nothing was changed")
        };
        let text = || match &call.node.kind {
            NodeKind::Text(text) => Ok(text.as_str()),
            _ => Err(refuse("its value is not a text".into())),
        };
        Ok(match name {
            "json" => match self.node(field, call.node)? {
                Term::Table(entries, _) => Term::Table(entries, true),
                other => other,
            },
            "literal" => Term::Literal(self.plain(field, call.node)?),
            "null" => match call.node.kind {
                NodeKind::Bool(true) => Term::Literal(Json::Null),
                _ => return Err(refuse("its value is not `true`".into())),
            },
            "ref" => match call.option("where") {
                Some(key) => {
                    let (store, target) = outside::target(self.store(), text()?);
                    let wanted = match call.option("field").map(|node| &node.kind) {
                        None => None,
                        Some(NodeKind::Text(field)) => Some(field.clone()),
                        Some(_) => return Err(refuse("`field` is not a name".into())),
                    };
                    Term::Reference(Reference { store, target, row: outside::name(key), field: wanted })
                }
                None => self.reference(field, call.node, text()?)?,
            },
            "argon2id" => Term::Password(Password::Argon2id(self.secret(field, call.node, &refuse)?)),
            "bcrypt" => Term::Password(Password::Bcrypt(self.secret(field, call.node, &refuse)?)),
            "encrypted" => {
                let plain = self.secret(field, call.node, &refuse)?;
                let Some(NodeKind::Text(variable)) = call.option("key").map(|node| &node.kind) else {
                    return Err(refuse("it names no variable that holds the key".into())
                        .hint("{ encrypted = \"...\", key = \"VARIABLE\" }"));
                };
                let key = self.variable(variable, &refuse)?;
                let encrypted = Encrypted::new(plain, &key)
                    .map_err(|why| refuse(format!("the key in {variable} is no key of AES-256: {why}")))?;
                Term::Encrypted(Box::new(encrypted), false)
            }
            "env" => Term::Literal(json!(self.variable(text()?, &refuse)?.expose())),
            "now" => Term::First(self.instant(transforms::instant(self.now, text()?).map_err(refuse)?)),
            "uuid" => self.uuid(call, text()?, &refuse)?,
            "base64" => Term::File(self.file(field, text()?).map_err(refuse)?),
            _ => self.id(call, text()?, &refuse)?,
        })
    }

    fn uuid(&self, call: &Call<'_>, version: &str, refuse: &impl Fn(String) -> Error) -> Result<Term> {
        let option = |name: &str| match call.option(name).map(|node| &node.kind) {
            None => Ok(None),
            Some(NodeKind::Text(text)) => Ok(Some(text.as_str())),
            Some(_) => Err(refuse(format!("`{name}` is not a text"))),
        };
        let (name, namespace) = (option("name")?, option("namespace")?);
        if version != "v5" {
            return match (name, namespace) {
                (None, None) => Ok(Term::First(json!(transforms::random_id(version).map_err(refuse)?))),
                _ => Err(refuse("only `v5` follows from a name".into())),
            };
        }
        Ok(Term::Literal(json!(
            match namespace {
                // Without a namespace, the id that a row of this name gets.
                None => self.origin.uuid(name.unwrap_or(self.row)),
                Some(namespace) => {
                    let namespace = transforms::namespace(namespace).map_err(refuse)?;
                    let name = name.ok_or_else(|| refuse("`namespace` stands without `name`".into()))?;
                    Uuid::new_v5(&namespace, name.as_bytes())
                }
            }
            .to_string()
        )))
    }

    /// A cuid, cuid2, ULID or ObjectId: new where the text is empty, else following from it.
    fn id(&self, call: &Call<'_>, text: &str, refuse: &impl Fn(String) -> Error) -> Result<Term> {
        let form = match call.name {
            "cuid" => Form::Cuid,
            "ulid" => Form::Ulid,
            "objectid" => Form::ObjectId,
            _ => Form::Cuid2(match call.option("length").map(|node| &node.kind) {
                None => CUID2_LENGTH,
                Some(NodeKind::Integer(length @ 2..=32)) => usize::try_from(*length).unwrap_or(CUID2_LENGTH),
                Some(_) => return Err(refuse("`length` is not a number from 2 to 32".into())),
            }),
        };
        let value = |id: String| match (form, self.store()) {
            (Form::ObjectId, StoreKind::Mongodb) => json!({ "$oid": id }),
            _ => json!(id),
        };
        Ok(if text.is_empty() {
            Term::First(value(made::new(form, self.now)))
        } else {
            Term::Literal(value(made::named(form, &self.origin, text)))
        })
    }

    /// A text that is never shown: as it is written, or from a variable.
    fn secret(&self, field: &Field, node: &Node, refuse: &impl Fn(String) -> Error) -> Result<Secret> {
        match &node.kind {
            NodeKind::Text(text) => Ok(Secret::new(self.fill(field, node, text)?)),
            NodeKind::Table(entries) => match entries.as_slice() {
                [(name, Node { kind: NodeKind::Text(variable), .. })] if name == "env" => {
                    self.variable(variable, refuse)
                }
                _ => Err(refuse("its value is neither a text nor { env = \"VARIABLE\" }".into())),
            },
            _ => Err(refuse("its value is neither a text nor { env = \"VARIABLE\" }".into())),
        }
    }

    fn variable(&self, name: &str, refuse: &impl Fn(String) -> Error) -> Result<Secret> {
        let (value, _) = self.variables.get(name).ok_or_else(|| {
            refuse(format!("the variable {name} is not set")).hint(format!("set {name} in the environment or in .env"))
        })?;
        Ok(Secret::new(value))
    }

    /// The bytes of a file beside the one that names it.
    fn file(&self, field: &Field, given: &str) -> Result<Vec<u8>, String> {
        let mut path = PathBuf::from(&field.source.shown);
        path.pop();
        for part in Path::new(given).components() {
            let stays = match part {
                Component::Normal(name) => {
                    path.push(name);
                    true
                }
                Component::CurDir => true,
                Component::ParentDir => path.pop(),
                Component::RootDir | Component::Prefix(_) => false,
            };
            if !stays {
                return Err(format!("`{given}` is not within the project"));
            }
        }
        let file = self.root.join(&path);
        let unreadable = |error: std::io::Error| format!("`{}` cannot be read: {error}", path.display());
        crate::project::text::stays(&file, &path.to_string_lossy()).map_err(|error| error.what().to_owned())?;
        let found = std::fs::metadata(&file).map_err(unreadable)?;
        if !found.is_file() || found.len() > FILE_BYTES {
            return Err(format!("`{}` is no file of up to 16 MB", path.display()));
        }
        std::fs::read(&file).map_err(unreadable)
    }

    fn instant(&self, time: Timestamp) -> Json {
        match self.store() {
            StoreKind::Mongodb => json!({ "$date": { "$numberLong": time.as_millisecond().to_string() } }),
            _ => json!(time.to_string()),
        }
    }

    /// Dates without a zone are of UTC.
    fn date(&self, field: &Field, node: &Node, date: &toml::value::Datetime) -> Result<Json> {
        if self.store() != StoreKind::Mongodb || date.date.is_none() {
            return Ok(json!(date.to_string()));
        }
        let mut text = date.to_string();
        if date.time.is_none() {
            text.push_str("T00:00:00");
        }
        if date.offset.is_none() {
            text.push('Z');
        }
        let time: Timestamp = text.parse().map_err(|_| {
            Error::new(Code::SeedFile, format!("`{date}` is no time"))
                .at(field.place_of(node))
                .data("nothing was changed")
        })?;
        Ok(self.instant(time))
    }
}

/// What may stand beside a transform.
fn options(name: &str, node: &Node) -> &'static [&'static str] {
    match (name, &node.kind) {
        ("ref", _) => &["where", "field"],
        ("uuid", NodeKind::Text(version)) if version == "v5" => &["name", "namespace"],
        ("cuid2", _) => &["length"],
        ("encrypted", _) => &["key"],
        _ => &[],
    }
}

/// The transform that a table is; none: a table of its own.
fn call<'a>(field: &Field, whole: &Node, entries: &'a [(String, Node)]) -> Result<Option<Call<'a>>> {
    let mut refused = None;
    for (at, (name, node)) in entries.iter().enumerate() {
        if !NAMES.contains(&name.as_str()) {
            continue;
        }
        let beside = || entries.iter().enumerate().filter(|(other, _)| *other != at).map(|(_, entry)| entry);
        let Some((odd, _)) = beside().find(|(other, _)| !options(name, node).contains(&other.as_str())) else {
            let beside = beside().map(|(name, node)| (name.as_str(), node)).collect();
            return Ok(Some(Call { name, node, beside }));
        };
        // A secret is never stored as it is because of a word that was mistyped beside it.
        if ["argon2id", "bcrypt", "encrypted"].contains(&name.as_str()) {
            refused = Some((name, odd, node));
        }
    }
    let Some((name, odd, node)) = refused else { return Ok(None) };
    let place = Place { text: None, ..field.place_of(whole) };
    let error = Error::new(Code::SeedFile, format!("`{odd}` cannot stand beside `{name}`"))
        .at(place)
        .data("nothing was changed");
    Err(match nearest(odd, options(name, node).iter().copied()) {
        Some(near) => error.hint(format!("did you mean `{near}`?")),
        None => error.hint(format!("{{ {name} = ... }} alone; a document as it is: {{ literal = {{ ... }} }}")),
    })
}
