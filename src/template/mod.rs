//! `<%TOKEN%>` files, strict: every missing token is named. `.hbs` files get full handlebars behind the same call.
