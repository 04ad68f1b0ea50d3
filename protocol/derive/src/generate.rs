//! From what the attributes say to the code that reads and writes.
//!
//! Untagged fields are read into locals in wire order, then the tag section, then the struct is put together:
//! no value is ever half made.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::{Generics, Ident, Lifetime, Type};

use crate::attributes::{FieldSpec, MessageSpec, Role, Versions};

/// All implementations for one struct.
pub fn message(spec: &MessageSpec) -> TokenStream {
    let parts = [default(spec), field(spec), nullable(spec), role(spec), arbitrary(spec)];
    quote!(#(#parts)*)
}

/// The lifetime that the struct borrows the frame for; a struct without one gets an anonymous impl lifetime.
fn frame_lifetime(generics: &Generics) -> (Generics, Lifetime) {
    let mut for_impl = generics.clone();
    if let Some(parameter) = generics.lifetimes().next() {
        return (for_impl, parameter.lifetime.clone());
    }
    let lifetime = Lifetime::new("'frame", proc_macro2::Span::call_site());
    for_impl.params.insert(0, syn::GenericParam::Lifetime(syn::LifetimeParam::new(lifetime.clone())));
    (for_impl, lifetime)
}

fn default(spec: &MessageSpec) -> TokenStream {
    let name = &spec.name;
    let (generics, arguments, _) = spec.generics.split_for_impl();
    let fields = spec.fields.iter().map(|field| {
        let name = &field.name;
        let value = default_value(field);
        quote!(#name: #value)
    });
    quote! {
        impl #generics ::core::default::Default for #name #arguments {
            fn default() -> Self {
                Self { #(#fields),* }
            }
        }
    }
}

fn field(spec: &MessageSpec) -> TokenStream {
    let name = &spec.name;
    let (_, arguments, _) = spec.generics.split_for_impl();
    let (generics, lifetime) = frame_lifetime(&spec.generics);
    let (generics, _, _) = generics.split_for_impl();
    let read = read_body(spec);
    let write = write_body(spec);
    let bytes_min =
        spec.fields.iter().filter(|field| field.tag.is_none() && field.versions == Versions::ALL).map(
            |field| {
                let kind = &field.kind;
                quote!(+ <#kind as crate::wire::Field<#lifetime>>::WIRE_BYTES_MIN)
            },
        );
    quote! {
        impl #generics crate::wire::Field<#lifetime> for #name #arguments {
            const WIRE_BYTES_MIN: usize = 0 #(#bytes_min)*;

            fn read(
                reader: &mut crate::wire::Reader<#lifetime>,
                format: crate::wire::Format,
            ) -> ::core::result::Result<Self, crate::wire::DecodeError> {
                #read
            }

            fn write(&self, writer: &mut crate::wire::Writer, format: crate::wire::Format) {
                #write
            }
        }
    }
}

fn read_body(spec: &MessageSpec) -> TokenStream {
    let names: Vec<&Ident> = spec.fields.iter().map(|field| &field.name).collect();
    let untagged = spec.fields.iter().map(|field| {
        let name = &field.name;
        let default = default_value(field);
        if field.tag.is_some() {
            let kind = &field.kind;
            return quote!(let mut #name: #kind = #default;);
        }
        let read = read_value(field);
        match in_versions(field.versions) {
            Some(condition) => quote!(let #name = if #condition { #read } else { #default };),
            None => quote!(let #name = #read;),
        }
    });
    let tagged = spec.fields.iter().filter_map(|field| {
        let tag = field.tag?;
        let name = &field.name;
        let read = if field.marked { read_marked() } else { read_value(field) };
        let guard = in_versions(field.versions).map(|condition| quote!(if #condition));
        Some(quote! {
            #tag #guard => {
                #name = #read;
                Ok(true)
            }
        })
    });
    quote! {
        #(#untagged)*
        if format.flexible {
            reader.tagged_fields(|reader, tag| match tag {
                #(#tagged)*
                _ => {
                    let _ = &reader;
                    Ok(false)
                }
            })?;
        }
        Ok(Self { #(#names),* })
    }
}

fn read_value(field: &FieldSpec) -> TokenStream {
    let plain = quote!(crate::wire::Field::read(reader, format)?);
    match field.nullable.and_then(in_versions) {
        Some(condition) => quote! {
            if #condition { #plain } else { Some(crate::wire::Field::read(reader, format)?) }
        },
        None => plain,
    }
}

/// In a tagged field the mark of a struct that may be null is a varint, and 0 is null; elsewhere it is a byte, and -1 is.
fn read_marked() -> TokenStream {
    quote!(if reader.uvarint()? == 0 { None } else { Some(crate::wire::Field::read(reader, format)?) })
}

fn write_marked(field: &FieldSpec) -> TokenStream {
    let name = &field.name;
    quote! {
        writer.uvarint(u32::from(self.#name.is_some()));
        if let Some(value) = &self.#name {
            crate::wire::Field::write(value, writer, format);
        }
    }
}

fn write_body(spec: &MessageSpec) -> TokenStream {
    let untagged = spec.fields.iter().filter(|field| field.tag.is_none()).map(|field| {
        let write = write_value(spec, field);
        let refuse = write_refusal(spec, field);
        match in_versions(field.versions) {
            Some(condition) => quote!(if #condition { #write } #refuse),
            None => write,
        }
    });
    let tagged = write_tagged(spec);
    quote! {
        #(#untagged)*
        #tagged
    }
}

fn write_value(spec: &MessageSpec, field: &FieldSpec) -> TokenStream {
    let name = &field.name;
    let plain = quote!(crate::wire::Field::write(&self.#name, writer, format););
    let Some(condition) = field.nullable.and_then(in_versions) else { return plain };
    let label = label(spec, field);
    quote! {
        if #condition {
            #plain
        } else if let Some(value) = &self.#name {
            crate::wire::Field::write(value, writer, format);
        } else {
            writer.refuse(crate::wire::EncodeError::Null { field: #label, version: format.version });
        }
    }
}

/// A value that the version can't carry is an error of the caller, unless the field may be ignored.
fn write_refusal(spec: &MessageSpec, field: &FieldSpec) -> TokenStream {
    if field.ignorable {
        return TokenStream::new();
    }
    let label = label(spec, field);
    let set = differs_from_default(field);
    quote! {
        else if #set {
            writer.refuse(crate::wire::EncodeError::NotInVersion { field: #label, version: format.version });
        }
    }
}

fn write_tagged(spec: &MessageSpec) -> TokenStream {
    let mut tagged: Vec<(u32, &FieldSpec)> =
        spec.fields.iter().filter_map(|field| field.tag.map(|tag| (tag, field))).collect();
    tagged.sort_by_key(|(tag, _)| *tag);
    let flags: Vec<Ident> = tagged.iter().map(|(_, field)| format_ident!("carries_{}", field.name)).collect();
    let carried = tagged.iter().zip(&flags).map(|((_, field), flag)| {
        let set = differs_from_default(field);
        let refuse = (!field.ignorable).then(|| {
            let label = label(spec, field);
            quote! {
                if #set && !#flag {
                    writer.refuse(crate::wire::EncodeError::NotInVersion { field: #label, version: format.version });
                }
            }
        });
        let condition = in_versions(field.versions).map(|condition| quote!(&& #condition));
        let carried = if field.marked { quote!(format.flexible) } else { quote!(#set && format.flexible) };
        quote! {
            let #flag = #carried #condition;
            #refuse
        }
    });
    let writes = tagged.iter().zip(&flags).map(|((tag, field), flag)| {
        let write = if field.marked { write_marked(field) } else { write_value(spec, field) };
        quote! {
            if #flag {
                let start = writer.tagged_begin(#tag);
                #write
                writer.tagged_end(start);
            }
        }
    });
    quote! {
        #(#carried)*
        if format.flexible {
            writer.uvarint(0 #(+ u32::from(#flags))*);
            #(#writes)*
        }
    }
}

fn nullable(spec: &MessageSpec) -> TokenStream {
    let name = &spec.name;
    let (_, arguments, _) = spec.generics.split_for_impl();
    let (generics, lifetime) = frame_lifetime(&spec.generics);
    let (generics, _, _) = generics.split_for_impl();
    quote! {
        impl #generics crate::wire::Nullable<#lifetime> for #name #arguments {
            fn read_nullable(
                reader: &mut crate::wire::Reader<#lifetime>,
                format: crate::wire::Format,
            ) -> ::core::result::Result<Option<Self>, crate::wire::DecodeError> {
                if reader.i8()? < 0 {
                    return Ok(None);
                }
                crate::wire::Field::read(reader, format).map(Some)
            }

            fn write_nullable(
                value: Option<&Self>,
                writer: &mut crate::wire::Writer,
                format: crate::wire::Format,
            ) {
                let Some(value) = value else { return writer.i8(-1) };
                writer.i8(1);
                crate::wire::Field::write(value, writer, format);
            }
        }
    }
}

fn role(spec: &MessageSpec) -> TokenStream {
    let (api, side) = match &spec.role {
        Role::Part => return TokenStream::new(),
        Role::Request(api) => (api, quote!(Request)),
        Role::Response(api) => (api, quote!(Response)),
    };
    let name = &spec.name;
    let (_, arguments, _) = spec.generics.split_for_impl();
    let (generics, lifetime) = frame_lifetime(&spec.generics);
    let (generics, _, _) = generics.split_for_impl();
    quote! {
        impl #generics crate::messages::Message<#lifetime> for #name #arguments {
            const API: crate::api::ApiKey = crate::api::ApiKey::#api;
        }
        impl #generics crate::messages::#side<#lifetime> for #name #arguments {}
    }
}

fn arbitrary(spec: &MessageSpec) -> TokenStream {
    let name = &spec.name;
    let (generics, arguments, _) = spec.generics.split_for_impl();
    let fields = spec.fields.iter().map(|field| {
        let name = &field.name;
        let default = default_value(field);
        let plain = quote!(crate::arbitrary::Arbitrary::arbitrary(source, format));
        let value = match field.nullable.and_then(in_versions) {
            Some(condition) => quote! {
                if #condition { #plain } else { Some(crate::arbitrary::Arbitrary::arbitrary(source, format)) }
            },
            None => plain,
        };
        match in_versions(field.versions) {
            Some(condition) => quote!(#name: if #condition { #value } else { #default }),
            None => quote!(#name: #value),
        }
    });
    quote! {
        #[cfg(test)]
        impl #generics crate::arbitrary::Arbitrary for #name #arguments {
            fn arbitrary(source: &mut crate::arbitrary::Source<'_>, format: crate::wire::Format) -> Self {
                let _ = (&source, format);
                Self { #(#fields),* }
            }
        }
    }
}

fn default_value(field: &FieldSpec) -> TokenStream {
    match &field.default {
        Some(value) => quote!(#value),
        None => {
            let kind: &Type = &field.kind;
            quote!(<#kind as ::core::default::Default>::default())
        }
    }
}

fn differs_from_default(field: &FieldSpec) -> TokenStream {
    let name = &field.name;
    let default = default_value(field);
    quote!((self.#name != #default))
}

/// `Struct.field`, for errors.
fn label(spec: &MessageSpec, field: &FieldSpec) -> String {
    format!("{}.{}", spec.name, field.name)
}

/// The condition under which a version is in the range, or none where every version is.
fn in_versions(versions: Versions) -> Option<TokenStream> {
    let Versions { first, last } = versions;
    match (first, last) {
        (0, None) => None,
        (_, None) => Some(quote!(format.version >= #first)),
        (0, Some(last)) => Some(quote!(format.version <= #last)),
        (_, Some(last)) if first == last => Some(quote!(format.version == #first)),
        (_, Some(last)) => Some(quote!((#first..=#last).contains(&format.version))),
    }
}
