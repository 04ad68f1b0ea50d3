//! What the attributes of an annotated struct say, checked, before any code is made of it.

use syn::spanned::Spanned;
use syn::{Attribute, Data, DeriveInput, Error, Expr, Fields, Generics, Ident, LitInt, LitStr, Result, Type};

/// An annotated struct.
pub struct MessageSpec {
    pub name: Ident,
    pub generics: Generics,
    pub role: Role,
    pub fields: Vec<FieldSpec>,
}

/// What the struct is on the wire.
pub enum Role {
    /// A part of a message.
    Part,
    /// The body of a request of this API.
    Request(Ident),
    /// The body of a response of this API.
    Response(Ident),
}

/// One field of an annotated struct, in wire order.
pub struct FieldSpec {
    pub name: Ident,
    pub kind: Type,
    pub versions: Versions,
    /// Set for an `Option`: the versions in which it may be null.
    pub nullable: Option<Versions>,
    pub tag: Option<u32>,
    pub default: Option<Expr>,
    pub ignorable: bool,
    /// Of a tagged struct that may be null: it is always written, its null as Kafka does there.
    pub marked: bool,
}

/// An inclusive range of versions, open above when `last` is none.
#[derive(Clone, Copy, PartialEq)]
pub struct Versions {
    pub first: i16,
    pub last: Option<i16>,
}

impl Versions {
    pub const ALL: Self = Self { first: 0, last: None };

    /// Reads `3+`, `0-12` or `7`.
    fn parse(text: &LitStr) -> Result<Self> {
        let value = text.value();
        let number = |digits: &str| {
            digits.parse::<i16>().map_err(|_| Error::new(text.span(), "versions are `3+`, `0-12` or `7`"))
        };
        if let Some(first) = value.strip_suffix('+') {
            return Ok(Self { first: number(first)?, last: None });
        }
        match value.split_once('-') {
            Some((first, last)) => Ok(Self { first: number(first)?, last: Some(number(last)?) }),
            None => Ok(Self { first: number(&value)?, last: Some(number(&value)?) }),
        }
    }
}

/// Reads the struct and its attributes.
pub fn parse(input: &DeriveInput) -> Result<MessageSpec> {
    let Data::Struct(data) = &input.data else {
        return Err(Error::new(input.span(), "a message is a struct"));
    };
    let Fields::Named(fields) = &data.fields else {
        return Err(Error::new(input.span(), "a message has named fields"));
    };
    Ok(MessageSpec {
        name: input.ident.clone(),
        generics: input.generics.clone(),
        role: parse_role(&input.attrs)?,
        fields: fields.named.iter().map(parse_field).collect::<Result<_>>()?,
    })
}

fn parse_role(attributes: &[Attribute]) -> Result<Role> {
    let mut role = Role::Part;
    for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("wire")) {
        attribute.parse_nested_meta(|meta| {
            if meta.path.is_ident("request") {
                role = Role::Request(meta.value()?.parse()?);
            } else if meta.path.is_ident("response") {
                role = Role::Response(meta.value()?.parse()?);
            } else {
                return Err(meta.error("a struct is a `request` or a `response`, or says nothing"));
            }
            Ok(())
        })?;
    }
    Ok(role)
}

fn parse_field(field: &syn::Field) -> Result<FieldSpec> {
    let name = field.ident.clone().ok_or_else(|| Error::new(field.span(), "a message has named fields"))?;
    let mut spec = FieldSpec {
        name,
        kind: field.ty.clone(),
        versions: Versions::ALL,
        nullable: is_option(&field.ty).then_some(Versions::ALL),
        tag: None,
        default: None,
        ignorable: false,
        marked: false,
    };
    for attribute in field.attrs.iter().filter(|attribute| attribute.path().is_ident("wire")) {
        attribute.parse_nested_meta(|meta| {
            if meta.path.is_ident("versions") {
                spec.versions = Versions::parse(&meta.value()?.parse()?)?;
            } else if meta.path.is_ident("nullable") {
                if spec.nullable.is_none() {
                    return Err(meta.error("only an `Option` is nullable"));
                }
                spec.nullable = Some(Versions::parse(&meta.value()?.parse()?)?);
            } else if meta.path.is_ident("tag") {
                spec.tag = Some(meta.value()?.parse::<LitInt>()?.base10_parse()?);
            } else if meta.path.is_ident("default") {
                spec.default = Some(meta.value()?.parse()?);
            } else if meta.path.is_ident("ignorable") {
                spec.ignorable = true;
            } else if meta.path.is_ident("marked") {
                spec.marked = true;
            } else {
                return Err(meta.error("known are versions, nullable, tag, default, ignorable and marked"));
            }
            Ok(())
        })?;
    }
    if spec.marked && (spec.tag.is_none() || spec.nullable != Some(Versions::ALL)) {
        return Err(Error::new(
            field.span(),
            "only a tagged `Option` that may be null in all versions is marked",
        ));
    }
    Ok(spec)
}

fn is_option(kind: &Type) -> bool {
    let Type::Path(path) = kind else { return false };
    path.path.segments.last().is_some_and(|segment| segment.ident == "Option")
}
