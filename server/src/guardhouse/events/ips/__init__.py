"""What single addresses did to a project: counted at intake, scored a moment later, shown, banned and released."""
