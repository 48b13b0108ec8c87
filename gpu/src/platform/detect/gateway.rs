//! The Gateway API and its gateways.

use super::component;
use crate::inventory::{Component, ComponentKind};
use crate::object::{Gateway, GatewayClass, ObservedCondition, annotation};
use crate::platform::{Objects, name};

/// The group of the Gateway API.
pub(crate) const GROUP: &str = "gateway.networking.k8s.io";

/// What a Gateway's status says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum GatewayState {
    /// Traffic can flow.
    Programmed,
    /// Not yet or not at all: condition, reason and message.
    Not(&'static str, String),
}

/// Components.
pub(crate) fn components(objects: &Objects) -> Vec<Component> {
    let mut found = Vec::new();
    let definition = objects
        .definitions
        .iter()
        .filter(|definition| definition.spec.group == GROUP)
        .max_by_key(|definition| name(&definition.metadata) == format!("gateways.{GROUP}"));
    if let Some(definition) = definition {
        let version = annotation(&definition.metadata, "gateway.networking.k8s.io/bundle-version");
        let version = version.map(|version| version.strip_prefix('v').unwrap_or(version).to_owned());
        let accepted = objects.gateway_classes.iter().any(is_accepted);
        let mut api = component(
            objects,
            ComponentKind::GatewayApi,
            &definition.metadata,
            version,
            Some(accepted),
        );
        GROUP.clone_into(&mut api.name);
        if let Some(channel) = annotation(&definition.metadata, "gateway.networking.k8s.io/channel") {
            api.facts.insert("channel".to_owned(), channel.to_owned());
        }
        for class in &objects.gateway_classes {
            let state = if is_accepted(class) {
                "accepted"
            } else {
                "not accepted"
            };
            let value = format!("{}, {state}", class.spec.controller_name);
            api.facts
                .insert(format!("class.{}", name(&class.metadata)), value);
        }
        found.push(api);
    }
    for gateway in &objects.gateways {
        let state = state(gateway);
        let healthy = state == GatewayState::Programmed;
        let mut entry = component(
            objects,
            ComponentKind::Gateway,
            &gateway.metadata,
            None,
            Some(healthy),
        );
        // A Gateway is an object, not a program: it has no version that could be unknown.
        entry.unknown.clear();
        let mut fact = |name: &str, value: String| entry.facts.insert(name.to_owned(), value);
        fact("class", gateway.spec.gateway_class_name.clone());
        let addresses: Vec<_> = gateway
            .status
            .addresses
            .iter()
            .map(|address| address.value.as_str())
            .collect();
        if !addresses.is_empty() {
            fact("addresses", addresses.join(","));
        }
        let listeners: Vec<_> = gateway
            .spec
            .listeners
            .iter()
            .map(|listener| format!("{}:{}/{}", listener.name, listener.port, listener.protocol))
            .collect();
        fact("listeners", listeners.join(","));
        if let GatewayState::Not(condition, why) = state {
            fact("reason", format!("{condition}: {why}"));
        }
        found.push(entry);
    }
    found
}

/// Whether a controller takes care of the class.
pub(crate) fn is_accepted(class: &GatewayClass) -> bool {
    class
        .status
        .conditions
        .iter()
        .any(|condition| condition.kind == "Accepted" && condition.status == "True")
}

/// Accepted and programmed for the generation at hand, with an address.
pub(crate) fn state(gateway: &Gateway) -> GatewayState {
    let generation = gateway.metadata.generation;
    for kind in ["Accepted", "Programmed"] {
        let condition = gateway
            .status
            .conditions
            .iter()
            .find(|condition| condition.kind == kind);
        let Some(condition) = condition else {
            return GatewayState::Not(kind, "no controller has reported".to_owned());
        };
        if condition.status != "True" {
            return GatewayState::Not(kind, reason(condition));
        }
        if let (Some(observed), Some(generation)) = (condition.observed_generation, generation)
            && observed < generation
        {
            let why = format!("the status is of generation {observed}, the object of {generation}");
            return GatewayState::Not(kind, why);
        }
    }
    if gateway.status.addresses.is_empty() {
        return GatewayState::Not("Programmed", "it has no address".to_owned());
    }
    for listener in &gateway.status.listeners {
        let wrong = listener
            .conditions
            .iter()
            .find(|condition| match condition.kind.as_str() {
                "Accepted" | "Programmed" | "ResolvedRefs" => condition.status == "False",
                "Conflicted" => condition.status == "True",
                _ => false,
            });
        if let Some(wrong) = wrong {
            let why = format!("listener {}: {} {}", listener.name, wrong.kind, reason(wrong));
            return GatewayState::Not("Listeners", why);
        }
    }
    GatewayState::Programmed
}

fn reason(condition: &ObservedCondition) -> String {
    let reason = condition.reason.as_deref().unwrap_or("no reason given");
    match condition.message.as_deref() {
        Some(message) if !message.is_empty() => format!("{reason} ({message})"),
        _ => reason.to_owned(),
    }
}
