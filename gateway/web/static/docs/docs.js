// Start Swagger UI on the address that the page names, and show each operation's migration stage.
"use strict";

const place = document.getElementById("swagger-ui");

// A pill behind the path of each operation: legacy, shadow, canary 5%, new, retired.
const stages = (system) => ({
  wrapComponents: {
    OperationSummaryPath: (Original) => (props) => {
      // The operation itself is resolved only when it is opened; the description is always at hand.
      const spot = ["paths", props.operationProps.get("path"), props.operationProps.get("method")];
      const operation = system.getSystem().specSelectors.specJson().getIn(spot);
      const stage = operation && operation.get("x-migration-stage");
      if (!stage) {
        return system.React.createElement(Original, props);
      }
      const weight = operation.get("x-migration-weight");
      const pill = system.React.createElement(
        "span",
        { className: `stage stage-${stage}`, title: "migration stage" },
        weight ? `${stage} ${weight}` : stage,
      );
      return system.React.createElement(
        "span",
        { className: "path-with-stage" },
        system.React.createElement(Original, props),
        pill,
      );
    },
  },
});

window.ui = SwaggerUIBundle({
  url: place.dataset.openapiUrl,
  domNode: place,
  oauth2RedirectUrl: new URL(place.dataset.oauth2RedirectUrl, window.location.href).href,
  deepLinking: true,
  displayRequestDuration: true,
  filter: true,
  // Without this Swagger UI sends the description's address to a validator on the internet.
  validatorUrl: null,
  presets: [SwaggerUIBundle.presets.apis],
  plugins: [stages],
});
