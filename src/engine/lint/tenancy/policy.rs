//! What a policy lets through, as far as its text says it.

use std::ops::Range;

use squawk_syntax::SyntaxNode;
use squawk_syntax::ast::{self, AstNode};

use super::schema::{Policy, Spot};
use super::span;

/// A policy as it is made.
pub fn created(create: &ast::CreatePolicy, spot: Spot, app_role: Option<&str>) -> Policy {
    let restricts = create
        .as_policy_type()
        .and_then(|kind| kind.ident_token())
        .is_some_and(|word| word.text().eq_ignore_ascii_case("restrictive"));
    let roles: Vec<String> = create.policy_roles().map(|roles| names(roles.syntax())).unwrap_or_default();
    // A policy for roles that the application is none of is somebody's deliberate door.
    let is_for_application =
        roles.is_empty() || roles.iter().any(|role| role == "public" || Some(role.as_str()) == app_role);
    let conditions: Vec<ast::Expr> = [
        create.using_expr_clause().and_then(|clause| clause.expr()),
        create.with_check_expr_clause().and_then(|clause| clause.expr()),
    ]
    .into_iter()
    .flatten()
    .collect();
    Policy {
        spot,
        is_open: !restricts && is_for_application && conditions.iter().any(|condition| is_true(condition.syntax())),
        fragile: conditions.iter().find_map(|condition| unguarded(condition.syntax())),
    }
}

/// A policy as it is changed.
pub fn altered(alter: &ast::AlterPolicy, spot: Spot, policy: &mut Policy) {
    let Some(ast::AlterPolicyAction::AlterPolicyTo(action)) = alter.action() else { return };
    let conditions: Vec<ast::Expr> = [
        action.using_expr_clause().and_then(|clause| clause.expr()),
        action.with_check_expr_clause().and_then(|clause| clause.expr()),
    ]
    .into_iter()
    .flatten()
    .collect();
    if !conditions.is_empty() {
        policy.spot = spot;
        policy.is_open = conditions.iter().any(|condition| is_true(condition.syntax()));
        policy.fragile = conditions.iter().find_map(|condition| unguarded(condition.syntax()));
    }
}

/// Whether options switch `security_invoker` on.
pub fn is_invoker(options: &SyntaxNode) -> bool {
    options.descendants().filter_map(ast::AttributeOption::cast).any(|option| {
        let name = option.name().map(|name| name.syntax().text().to_string()).unwrap_or_default();
        let value = option.attribute_value().map(|value| value.syntax().text().to_string().to_ascii_lowercase());
        name.trim().eq_ignore_ascii_case("security_invoker")
            && value.is_none_or(|value| matches!(value.trim().trim_matches('\''), "true" | "on" | "1" | "yes"))
    })
}

/// The roles behind TO; `PUBLIC` is a word, `"Public"` a role.
fn names(node: &SyntaxNode) -> Vec<String> {
    let tokens = node.descendants_with_tokens().filter_map(|element| element.into_token());
    let words = tokens.filter(|token| !token.kind().is_trivia()).map(|token| token.text().to_owned());
    let name = |word: String| match word.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(quoted) => quoted.replace("\"\"", "\""),
        None => word.to_lowercase(),
    };
    words.map(name).collect()
}

fn is_true(condition: &SyntaxNode) -> bool {
    condition
        .text()
        .to_string()
        .trim_matches(|c: char| c.is_whitespace() || c == '(' || c == ')')
        .eq_ignore_ascii_case("true")
}

/// `current_setting` that fails where the setting was never set (no second argument), or gives '' where an
/// earlier transaction set it (no `nullif` around it).
fn unguarded(condition: &SyntaxNode) -> Option<Range<usize>> {
    let called = |node: &SyntaxNode| -> String {
        let first = node.first_token();
        let name = std::iter::successors(first, |token| token.next_token()).find(|token| !token.kind().is_trivia());
        name.map(|token| token.text().to_ascii_lowercase()).unwrap_or_default()
    };
    condition.descendants().filter_map(ast::CallExpr::cast).find_map(|call| {
        let text = call.syntax().text().to_string().to_ascii_lowercase();
        let name = called(call.syntax());
        let is_setting =
            name == "current_setting" || (name == "pg_catalog" && text.starts_with("pg_catalog.current_setting"));
        if !is_setting {
            return None;
        }
        let arguments = call.arg_list().map(|list| list.args().count()).unwrap_or_default();
        let is_guarded = call.syntax().ancestors().skip(1).filter_map(ast::CallExpr::cast).any(|outer| {
            matches!(called(outer.syntax()).as_str(), "nullif")
                || outer.syntax().text().to_string().to_ascii_lowercase().starts_with("pg_catalog.nullif")
        });
        (arguments < 2 || !is_guarded).then(|| span(call.syntax()))
    })
}
